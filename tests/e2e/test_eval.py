"""``tandem eval`` as its users run it: against a stack that runs already, and with one of its own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tandem.evaluation.records import Record
from tandem.evaluation.summary import Run
from tests.e2e.running import Up, tandem

ASKED = ("--methods", "autoregressive,coupled,mtad", "--limit", "6", "--concurrency", "3", "--max-tokens", "12")


def evaluate(stack: Up, out: Path, *more: str) -> Run:
    done = tandem("eval", "--address", stack.told["grpc"][0], "--out", str(out), "--quiet", *ASKED, *more)
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout
    return Run.load(out)


def answers(run: Run, label: str) -> dict[tuple[int, str], str]:
    return {(r.repetition, r.sample): r.turns[0].text for r in run.records if r.configuration == label}


def test_a_run_is_answers_figures_and_a_report_and_goes_on(stack: Up, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = evaluate(stack, out, "--trace", "2")
    assert Counter(record.configuration for record in run.records) == {"autoregressive": 6, "coupled": 6, "mtad": 6}
    assert answers(run, "coupled") == answers(run, "autoregressive")
    traced = [record for record in run.records if record.turns[0].rounds]
    assert {record.sample for record in traced} == {run.records[0].sample, traced[-1].sample}
    assert_the_rounds_are_the_answer([record for record in traced if record.configuration == "mtad"])
    summary = json.loads((out / "summary.json").read_text())
    assert [figures["label"] for figures in summary["figures"]] == ["autoregressive", "coupled", "mtad"]
    assert summary["figures"][1]["versus_baseline"]["same_answers"] == 1.0
    assert "<html" in (out / "report.html").read_text()

    before = (out / "samples.jsonl").read_bytes()
    longer = evaluate(stack, out, "--trace", "2", "--repetitions", "2")
    assert (out / "samples.jsonl").read_bytes().startswith(before)
    assert len(longer.records) == 36
    assert answers(longer, "coupled") == answers(longer, "autoregressive")


def assert_the_rounds_are_the_answer(traced: list[Record]) -> None:
    for record in traced:
        (turn,) = record.turns
        kept = [
            (shown.candidates[0][: shown.num_accepted] if shown.candidates else (), shown.extra)
            for shown in turn.rounds
        ]
        assert sum(len(accepted) + bool(extra) for accepted, extra in kept) == turn.usage["completion_tokens"]
        assert sum(len(accepted) for accepted, _ in kept) == turn.usage["num_accepted_draft_tokens"]


def test_the_gate_tells_runs_apart_by_its_exit_code(stack: Up, tmp_path: Path) -> None:
    base = evaluate(stack, tmp_path / "base")
    compare = ("eval", "compare", str(base.folder))
    loose = ("--max-slowdown", "none", "--max-relative-slowdown", "none")
    same = tandem(*compare, str(base.folder))
    assert same.returncode == 0, same.stderr + same.stdout
    assert "No drift" in same.stdout
    slower = evaluate(stack, tmp_path / "new", "--draft-length", "1")
    files = ("--junit", str(tmp_path / "gate.xml"), "--markdown", str(tmp_path / "gate.md"))
    limits = ("--max-block-efficiency-loss", "-10%", "--confidence", "0.9", *loose)
    drifted = tandem(*compare, str(slower.folder), *limits, *files)
    assert drifted.returncode == 1, drifted.stdout
    assert "block efficiency went from" in drifted.stdout.replace("\n", " ")
    assert "draft_length was 4, is 1" in drifted.stdout
    assert int(ElementTree.parse(tmp_path / "gate.xml").getroot()[0].get("failures", "0")) >= 1
    assert "❌ drifted" in (tmp_path / "gate.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--methods", "magic"), "magic"),
        (("--task", "sudoku"), "sudoku"),
        (("--task", "spider=/nowhere"), "/nowhere"),
        (("--threshold", "high"), "--threshold is 'high'"),
        (("--scorer", "no_such_module:score"), "no_such_module"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = tandem("eval", "--out", str(tmp_path / "run"), "--limit", "2", *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_is_asked_for() -> None:
    done = tandem("eval", "--limit", "2")
    assert done.returncode == 2
    assert "--out is missing" in done.stderr


def test_without_an_address_a_stack_is_started_and_an_experiment_is_read_from_a_file(tmp_path: Path) -> None:
    sums = tmp_path / "sums.py"
    sums.write_text(
        "from tandem.evaluation.task import Sample, Task\n"
        "class Sums(Task):\n"
        "    name, primary, max_tokens = 'sums', 'right', 4\n"
        "    def samples(self, limit):\n"
        "        return [Sample(text, text + '=') for text in ('1+1', '2+2')][:limit]\n"
        "    def score(self, sample, answers):\n"
        "        return {'right': float(answers[0].strip() == '2')}\n"
    )
    config = tmp_path / "experiment.toml"
    config.write_text(f"task = ['text-to-sql', '{sums}']\nmethods = ['typical', 'bild']\nlimit = 2\nconcurrency = 2\n")
    out = tmp_path / "run"
    done = tandem("eval", "--config", str(config), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert {(r.task, r.configuration) for r in Run.load(out).records} == {
        (task, label) for task in ("text-to-sql", "sums") for label in ("typical", "bild")
    }
    assert "sums: 2 answers each" in done.stdout
