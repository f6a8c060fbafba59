# One command a job; each calls what it needs. `make check` is the gate, here and in CI.
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: setup demo test check protos lint format clean

setup: $(READY)

$(READY): pyproject.toml
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --editable '.[engine,store,dev]'
	touch $(READY)

demo: $(READY)
	$(VENV)/bin/tandem demo

test: $(READY)
	$(PY) -m pytest -n 2 --dist loadfile

protos: $(READY)
	$(PY) -m grpc_tools.protoc --proto_path=protos --python_out=. --pyi_out=. --grpc_python_out=. protos/tandem/v1/*.proto

lint: $(READY)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(READY)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

check: lint test

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
