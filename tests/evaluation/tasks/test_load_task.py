"""Tasks by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem.errors import InvalidArgument
from tandem.evaluation.tasks import MtBench, Prompts, TextToSql, load_task
from tandem.models import shipped

OWN = """
from dataclasses import dataclass
from tandem.evaluation.task import Sample, Task

@dataclass(frozen=True)
class Thing:
    text: "str"

class Own(Task):
    name = "own"

    def __init__(self, path=None):
        self.path = path

    def samples(self, limit):
        return [Sample("a", "b")][:limit]
"""


def own(tmp_path: Path, text: str = OWN) -> str:
    (tmp_path / "own_task.py").write_text(text)
    return str(tmp_path / "own_task.py")


def test_shipped_tasks_have_names(tmp_path: Path) -> None:
    prompts, questions = tmp_path / "a=b.jsonl", tmp_path / "q.jsonl"
    prompts.write_text('{"prompt": "a"}')
    questions.write_text('{"question_id": 1, "category": "x", "turns": ["a"]}')
    assert isinstance(load_task("text-to-sql"), TextToSql)
    assert isinstance(load_task(f"prompts={prompts}"), Prompts)
    assert isinstance(load_task(f"jsonl={prompts}"), Prompts)
    assert isinstance(load_task(f"mt-bench={questions}"), MtBench)
    assert isinstance(load_task(f"mt-bench={questions}", model=str(shipped("target"))), MtBench)


def test_a_file_with_a_task_in_it(tmp_path: Path) -> None:
    task = load_task(own(tmp_path))
    assert task.name == "own"
    assert [sample.id for sample in task.samples(None)] == ["a"]
    assert load_task(f"{own(tmp_path)}=data=1.txt").path == Path("data=1.txt")  # type: ignore[attr-defined]


def test_a_class_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_task("own_task:Own").name == "own"
    assert load_task("own_task:Own=x").path == Path("x")  # type: ignore[attr-defined]
    for spec, message in [
        ("own_task:Thing", "own_task:Thing is not a subclass of"),
        ("own_task:Nothing", "the module 'own_task' has no 'Nothing'"),
        ("no_such_module:Own", "no module for 'no_such_module:Own': .*PYTHONPATH"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            load_task(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "there is no task ''; expected text-to-sql, spider=FOLDER"),
        ("mmlu", "there is no task 'mmlu'"),
        ("spider", "the task spider needs its data; expected spider=PATH"),
        ("humaneval=", "ends where a path should stand"),
        ("humaneval=/no/such.jsonl", r"cannot read /no/such\.jsonl: No such file"),
        ("prompts=/", "cannot read /: Is a directory"),
        ("text-to-sql=x", "leave out =x"),
        ("/no/such/task.py", r"there is no file /no/such/task\.py"),
    ],
)
def test_what_is_wrong_is_said(spec: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        load_task(spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "defines none; expected exactly one"),
        ("from tandem.evaluation.tasks import TextToSql", "defines none"),
        (OWN + "\nclass Other(Own):\n    pass\n", "defines Own, Other; expected exactly one"),
        ("1 / 0", "fails when it is loaded: ZeroDivisionError"),
        ("def", "fails when it is loaded: SyntaxError"),
        (OWN.replace("def samples", "def sample"), "the task Own does not define samples"),
        (OWN.replace('name = "own"', "pass"), "the task Own has no name"),
        (OWN.replace("path=None", "path, more"), "the task Own cannot be called with 0 arguments: missing"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        load_task(own(tmp_path, text))
