"""Scorers of one's own."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tandem.errors import InvalidArgument, Unavailable
from tandem.evaluation import line_process
from tandem.evaluation.scorer import Scorer, checked_scores, load_scorer
from tandem.evaluation.task import Sample

SAMPLE = Sample("q1", "Say ü.", reference="ü")
Starting = Callable[..., Scorer]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starting]:
    monkeypatch.setattr(line_process, "_CLOSE_SECONDS", 0.5)
    started: list[Scorer] = []

    def start(program: str, patience_seconds: float = 20.0) -> Scorer:
        (tmp_path / "a judge.py").write_text(program)
        command = shlex.join([sys.executable, str(tmp_path / "a judge.py")])
        started.append(load_scorer(f"command:{command}", patience_seconds=patience_seconds))
        return started[-1]

    yield start
    for scorer in started:
        scorer.close()


def each(body: str) -> str:
    return f"import sys, json, os, time\nfor line in sys.stdin:\n    asked = json.loads(line)\n    {body}\n"


def test_a_command_is_given_samples_and_gives_scores(start: Starting) -> None:
    scorer = start(each('print(json.dumps({"n": len(asked["answers"]), "r": asked["reference"] == "ü"}), flush=True)'))
    assert scorer(SAMPLE, ["a", "b"]) == {"n": 2.0, "r": 1.0}
    assert scorer(SAMPLE, ["a\nb"]) == {"n": 1.0, "r": 1.0}


def test_it_is_told_the_four_fields(start: Starting) -> None:
    scorer = start(each('print(json.dumps({" ".join(asked): 1, asked["id"] + asked["prompt"]: 2}), flush=True)'))
    assert scorer(SAMPLE, ["a"]) == {"id prompt answers reference": 1.0, "q1Say ü.": 2.0}


def test_great_answers_pass_through(start: Starting) -> None:
    scorer = start(each('print(json.dumps({"n": len(asked["answers"][0])}), flush=True)'))
    assert scorer(SAMPLE, ["x" * 5_000_000]) == {"n": 5e6}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('I like it', flush=True)", "on sample 'q1' printed no JSON: 'I like it'; .*standard error"),
        ("print('[' * 10**5, flush=True)", "printed no JSON"),
        ("print(0.5, flush=True)", "gave 0.5; expected scores by name"),
        ("print('{\"a\": NaN}', flush=True)", "gave nan as 'a'; expected a finite number"),
        ("print('{\"a\": 1e999}', flush=True)", "gave inf as 'a'"),
        ('print(\'{"a": "0.5"}\', flush=True)', "gave '0.5' as 'a'"),
        ("print('{\"a\": null}', flush=True)", "gave None as 'a'"),
        ("print('x' * (1 << 21), flush=True)", "printed more than 1048576 bytes"),
    ],
)
def test_what_is_no_score_is_refused(start: Starting, body: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        start(each(body))(SAMPLE, ["a"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit(3)", "on sample 'q1' ended with exit code 3 without an answer"),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("time.sleep(60)", "gave no answer in 1 seconds"),
    ],
)
def test_one_that_fails_is_told(start: Starting, body: str, message: str) -> None:
    with pytest.raises(Unavailable, match=message):
        start(each(body), patience_seconds=1.0)(SAMPLE, ["a"])


def test_one_that_never_reads_is_told(start: Starting) -> None:
    with pytest.raises(Unavailable, match="gave no answer"):
        start("import time\ntime.sleep(60)", patience_seconds=0.5)(SAMPLE, ["x" * 5_000_000])


def test_more_lines_than_samples_are_told(start: Starting) -> None:
    scorer = start(each('print(\'{"a": 1}\\n{"a": 2}\', flush=True)'))
    assert scorer(SAMPLE, ["a"]) == {"a": 1.0}
    with pytest.raises(InvalidArgument, match="more than a line for a sample"):
        scorer(SAMPLE, ["a"])


def test_closing_kills_what_does_not_leave(start: Starting) -> None:
    started, others = time.monotonic(), set(psutil.Process().children(recursive=True))
    program = "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(61)'])\n"
    scorer = start(program + each("print('{\"a\": 1}', flush=True)") + "time.sleep(61)")
    scorer(SAMPLE, ["a"])
    children = [child for child in psutil.Process().children(recursive=True) if child not in others]
    scorer.close()
    assert time.monotonic() - started < 20
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert len(gone) >= 2
    assert alive == []


OWN = """
def longer(sample, answers):
    return {"longer": len(answers[0]) > len(sample.reference)}

def bad(sample, answers):
    return 1

def none(sample):
    return {}
"""


def test_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_scorers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    scorer = load_scorer("own_scorers:longer")
    assert scorer(SAMPLE, ["abc"]) == {"longer": 1.0}
    scorer.close()
    with pytest.raises(InvalidArgument, match="own_scorers:bad on sample 'q1' gave 1; expected scores by name"):
        load_scorer("own_scorers:bad")(SAMPLE, ["a"])
    with pytest.raises(InvalidArgument, match="own_scorers:none cannot be called with 2 arguments: too many"):
        load_scorer("own_scorers:none")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("judge", "there is no scorer 'judge'; expected module:function"),
        ("no_such_module:judge", "no module for"),
        ("json:judge", "the module 'json' has no 'judge'"),
        ("json:__name__", "cannot be called"),
        ("command:", "names no program"),
        ("command:'", "cannot be read as a command line"),
        ("command:/no/such/judge", "cannot be started: .*No such file"),
        ("command:/", "cannot be started: .*Permission denied"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(spec: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        load_scorer(spec)


@pytest.mark.parametrize(
    "scores", [None, [], {1: 0.5}, {"": 0.5}, {"a": object()}, dict.fromkeys(map(str, range(99)), 1)]
)
def test_odd_scores_are_refused(scores: Any) -> None:
    with pytest.raises(InvalidArgument, match="the scorer"):
        checked_scores(scores, "the scorer")


def test_numbers_of_numpy_are_numbers() -> None:
    assert checked_scores({"a": np.float32(0.5), "b": np.int64(2), "c": True}, "") == {"a": 0.5, "b": 2.0, "c": 1.0}
