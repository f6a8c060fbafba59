"""What docs/tasks.md shows does what it says."""

from __future__ import annotations

import re
import shlex
import sqlite3
import sys
from pathlib import Path

import pytest

from tandem.evaluation.scorer import load_scorer
from tandem.evaluation.task import Sample
from tandem.evaluation.tasks import load_task

DOC = (Path(__file__).resolve().parents[2] / "docs/tasks.md").read_text()
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```json\n(.*?)```", DOC, re.DOTALL | re.MULTILINE))
TASK, FUNCTION, PROGRAM = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "database/pets").mkdir(parents=True)
    connection = sqlite3.connect(tmp_path / "database/pets/pets.sqlite")
    connection.execute("CREATE TABLE pets (id INTEGER, name TEXT)")
    connection.close()
    (tmp_path / "sums.py").write_text(TASK)
    (tmp_path / "my_scorers.py").write_text(FUNCTION)
    (tmp_path / "judge.py").write_text(PROGRAM)
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "answer", "scores"),
    [
        ("spider={}", " SELECT 0", {"execution_accuracy": 1.0}),
        ("humaneval={}/HumanEval.jsonl", "    return 2 * x\n", {"pass@1": 1.0}),
        ("prompts={}/prompts.jsonl", " Paris", {"exact_match": 1.0, "rouge1": 1.0, "rouge2": 0.0, "rougeL": 1.0}),
        ("mt-bench={}/question.jsonl", "Old pond", {}),
        ("{}/sums.py", " 2", {"right": 1.0}),
    ],
)
def test_the_files_shown_are_read(folder: Path, spec: str, answer: str, scores: dict[str, float]) -> None:
    task = load_task(spec.format(folder))
    assert task.score(task.samples(1)[0], [answer]) == scores
    assert task.primary == next(iter(scores), None)


def test_the_prompts_shown_are_those(folder: Path) -> None:
    prompt = load_task(f"spider={folder}").samples(1)[0].prompt
    assert f"`{prompt.splitlines()[0]}`" in DOC
    conversation = load_task(f"mt-bench={folder}/question.jsonl")
    second = conversation.next_prompt(conversation.samples(1)[0], ["…"])
    assert second is not None
    assert second in DOC.replace("\n    ", "\n")


def test_the_task_shown_takes_a_file(folder: Path) -> None:
    (folder / "my_sums.txt").write_text("20+22\n")
    task = load_task(f"{folder}/sums.py={folder}/my_sums.txt")
    (sample,) = task.samples(None)
    assert sample.prompt == "20+22="
    assert task.score(sample, ["43"]) == {"right": 0.0}
    assert len(TASK.splitlines()) <= 25


def test_the_scorers_shown_score(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    sample = Sample("1", "Capital?", reference="Paris")
    assert load_scorer("my_scorers:brevity")(sample, ["It is Paris."]) == {"num_words": 3.0}
    command = load_scorer(f"command:{shlex.join([sys.executable, str(folder / 'judge.py')])}")
    assert command(sample, ["It is Paris."]) == {"says_it": 1.0}
    assert command(sample, ["It is Rome."]) == {"says_it": 0.0}
    command.close()
