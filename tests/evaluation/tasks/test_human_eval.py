"""HumanEval's file, as published."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tandem.errors import InvalidArgument
from tandem.evaluation.tasks import HumanEval

PROBLEM: dict[str, Any] = {
    "task_id": "Own/0",
    "prompt": 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Their sum."""\n',
    "canonical_solution": "    return sum(xs)\n",
    "test": "\n\nMETADATA = {}\n\ndef check(f):\n    assert f([1, 2]) == 3\n    assert f([]) == 0\n",
    "entry_point": "total",
}


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "HumanEval.jsonl", PROBLEM, PROBLEM | {"task_id": "Own/1"})


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("    return sum(xs)\n", 1.0),
        ("    return sum(xs)", 1.0),
        ("    return 3", 0.0),
        ("    return sum(", 0.0),
        ("", 0.0),
        ("    import os; os._exit(0)", 0.0),
        ("    return 0\nraise SystemExit", 0.0),
        ("    return 0\ndef check(candidate): pass\n", 0.0),
    ],
)
def test_a_completion_passes_or_not(path: Path, answer: str, score: float) -> None:
    task = HumanEval(path)
    assert task.score(task.samples(1)[0], [answer]) == {"pass@1": score}


def test_packed_or_not_it_is_the_same(path: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert HumanEval(packed).samples(None) == HumanEval(path).samples(None)
    assert [sample.id for sample in HumanEval(packed).samples(None)] == ["Own/0", "Own/1"]
    assert HumanEval(path).samples(1)[0].prompt == PROBLEM["prompt"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_id": "Own/0"}, r"line 2: the id 'Own/0' is taken by .*line 1; ids must differ"),
        ({"test": None}, "line 2: expected text in the field 'test', found null"),
        ({"entry_point": "x; y"}, "line 2: the entry point 'x; y' is not the name of a function"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        HumanEval(write(tmp_path / "bad.jsonl", PROBLEM, PROBLEM | {"task_id": "Own/1"} | changes))


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps(PROBLEM).encode())
    for content in (b"not gzip", whole[:-12]):
        (tmp_path / "bad.jsonl.gz").write_bytes(content)
        with pytest.raises(InvalidArgument, match="cannot read"):
            HumanEval(tmp_path / "bad.jsonl.gz")
