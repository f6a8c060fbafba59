"""What the code may not contain, and may not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("tandem", "draft_service", "verify_service", "orchestrator", "examples", "benchmarks", "models")
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def _sources() -> list[Path]:
    found = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [path for path in found if "v1" not in path.parts]


def _violations(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        else:
            names = []
        for name in names:
            if name.split(".")[0] in UNPICKLERS or name == "torch.load":
                yield f"line {node.lineno}: {name}"
        if isinstance(node, ast.keyword):
            given = node.value.value if isinstance(node.value, ast.Constant) else None
            if node.arg == "trust_remote_code" and given is not False:
                yield f"line {node.value.lineno}: trust_remote_code"
            if node.arg == "weights_only" and given is False:
                yield f"line {node.value.lineno}: weights_only=False"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "f(trust_remote_code=True)",
        "f(trust_remote_code=flag)",
        "import joblib.numpy_pickle",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert list(_violations(source))


def test_nothing_unpickles_and_nothing_runs_remote_code() -> None:
    sources = _sources()
    assert len(sources) > 30
    found = [f"{path.relative_to(ROOT)}: {what}" for path in sources for what in _violations(path.read_text())]
    assert found == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _sources()
        if path.name != "__init__.py" and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_nothing_is_called_utils() -> None:
    assert [path for path in _sources() if path.stem.strip("_") in {"utils", "util", "helpers", "misc", "common"}] == []


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("orchestrator.__main__", {"torch", "transformers"}),
        ("tandem.cli.main", {"torch", "transformers", "grpc"}),
        ("tandem.client", {"torch", "transformers", "redis"}),
        ("tandem.decoding.methods", {"torch", "grpc", "redis", "google"}),
    ],
)
def test_what_a_process_really_loads(module: str, forbidden: set[str]) -> None:
    script = f"import sys, {module}; print(sorted({forbidden!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"
