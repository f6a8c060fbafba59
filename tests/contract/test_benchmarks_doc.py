"""docs/benchmarks.md and benchmarks/README.md: commands that exist, and places for tables."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main

from benchmarks import tables
from tandem.bench import report
from tandem.bench.contender import Arrival
from tandem.bench.figures import Measured
from tandem.bench.peers import PEERS
from tandem.bench.plan import PLACES, Plan
from tandem.bench.records import Cell, Group, Text
from tandem.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
DOCS = {
    path: (ROOT / path).read_text() for path in ("docs/benchmarks.md", "benchmarks/README.md", "README.md", "Makefile")
}


def commands(program: str) -> list[list[str]]:
    """Of all documents, from blocks and from running text."""
    pattern = rf"(?:^|`|bin/|PY\) ){re.escape(program)}( [^`\n]*)?(?:`|$)"
    found = [match or "" for text in DOCS.values() for match in re.findall(pattern, text, flags=re.MULTILINE)]
    return [shlex.split(words) for words in found]


def test_the_bench_commands_can_be_run_as_shown() -> None:
    tandem: Any = typer.main.get_command(app)
    options = {flag: parameter for parameter in tandem.commands["bench"].params for flag in parameter.opts}
    shown = [words for words in commands("tandem bench") if words]
    assert len(shown) >= 8
    for words in shown:
        assert {word for word in words if word.startswith("--")} <= options.keys(), words
        for flag, value in pairwise(words):
            if flag == "--peers":
                assert set(value.split(",")) <= {*PEERS, "all", "none"}
            if flag == "--places":
                assert set(value.split(",")) <= set(PLACES)
            if flag == "--max-tokens":
                assert Plan(max_tokens=value)


def test_the_programs_that_are_named_exist() -> None:
    names = {
        name
        for text in DOCS.values()
        for name in re.findall(r"python -m benchmarks\.(\w+)|PY\) -m benchmarks\.(\w+)", text)
    }
    modules = {name for pair in names for name in pair if name}
    assert {"forward", "sampled", "tables"} <= modules
    assert [name for name in modules if importlib.util.find_spec(f"benchmarks.{name}") is None] == []


def test_every_peer_is_described() -> None:
    assert [name for name in PEERS if f"| `{name}` |" not in DOCS["benchmarks/README.md"]] == []


@pytest.mark.parametrize("name", ["bench-shipped", "bench-widened", "bench-compiled", "bench-compiled-widened"])
def test_a_runs_tables_are_put_into_their_place(name: str, tmp_path: Path) -> None:
    text = Text(2, (Arrival(0.01, 1), Arrival(0.014, 1)), 1)
    cells = (Cell("services:mtad", 0, 0.5, (text,)), Cell("generate", 0, 1.0, (text,)))
    groups = [
        Group(number, 1, cells, ({"draft": 0.002, "period": 0.004},), (("verify", 3 << 20),)) for number in (0, 1)
    ]
    environment = {
        "processor": "some processor",
        "cores": 2,
        "threads": 1,
        "dtype": "bfloat16",
        "target_parameters": 85e6,
        "draft_parameters": 0.3e6,
        "widened_to": 18432,
        "compiled": "compiled" in name,
        "versions": {"torch": "2", "transformers": "5"},
    }
    plan = {"temperature": 0, "draft_length": 4, "max_tokens": "64", "repetitions": 2}
    written = report.document({"plan": plan, "environment": environment}, Measured(groups), ["services:mtad"])
    (tmp_path / report.FILE_NAME).write_text(json.dumps(written))
    document = tmp_path / "benchmarks.md"
    document.write_text(DOCS["docs/benchmarks.md"])
    tables.main(name, tmp_path, document)
    place = re.search(rf"(?s)<!-- table: {name} -->\n(.*?)<!-- end -->", document.read_text())
    assert place is not None
    table = place.group(1)
    assert "| 1 | `generate` | 2 [2, 2] | 2.00 [2.00, 2.00] |  |" in table
    assert "| 1 | `services:mtad` | 10.00, 10.00, 10.00 | 4.00, 4.00, 4.00 | 4.00, 4.00, 4.00 |" in table
    assert "widened to 18432" in table
    assert ("our models compiled" in table) == ("compiled" in name)
    assert "| draft | 2.00, 2.00 |" in table
    assert "verify 3 → 3" in table
    tables.main(name, tmp_path, document)  # the marks stay
