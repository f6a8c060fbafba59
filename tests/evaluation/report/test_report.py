"""Whole reports of runs made by hand, also of those with little in them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tandem.evaluation.records import Record
from tandem.evaluation.report import write_report
from tests.evaluation.report.runs import answered, failed, make_run

ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def report(folder: Path, **run: Any) -> str:
    made = make_run(folder, **run)
    return write_report(made, made.summary()).read_text()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with nothing special about it."""
    folder = tmp_path_factory.mktemp("plain")
    report(folder)
    return folder


def test_a_report_has_every_part_and_its_plots_lie_beside_it(plain: Path) -> None:
    html = (plain / "report.html").read_text()
    for heading in ("Findings", "Figures", "Quality against speed", "Acceptance", "Time and energy", "Samples"):
        assert heading in html
    stems = {path.stem for path in (plain / "plots").iterdir()}
    assert stems == {
        f"text-to-sql-{name}"
        for name in (
            "speed-execution-accuracy",
            "speed-output-perplexity",
            "execution-accuracy",
            "output-perplexity",
            "accepted-length",
            "acceptance-by-position",
            "stages",
        )
    }
    assert len(list((plain / "plots").iterdir())) == 2 * len(stems)
    assert "not measured" in html
    assert "Energy was not measured" in html


def test_the_same_run_gives_the_same_bytes(plain: Path, tmp_path: Path) -> None:
    assert report(tmp_path) == (plain / "report.html").read_text()
    for path in (plain / "plots").iterdir():
        assert path.read_bytes() == (tmp_path / "plots" / path.name).read_bytes()


def test_nothing_comes_from_outside(plain: Path) -> None:
    html = (plain / "report.html").read_text()
    assert "<script" not in html
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', html)
    assert [link for link in links if not link.startswith(("#", "data:"))] == []


def test_texts_of_anybody_are_escaped(tmp_path: Path) -> None:
    names = {"primary": f"score{ATTACK}$x$", "tasks": [f"task{ATTACK}"]}

    def edit(record: Record) -> Record:
        record = answered(ATTACK, question=ATTACK)(record)
        return replace(record, reference=ATTACK, error=ATTACK if record.sample == "sample-1" else "")

    html = report(tmp_path, edit=edit, **names)
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    assert all(re.fullmatch(r"[a-z0-9-]+", path.stem) for path in (tmp_path / "plots").iterdir())


def test_ids_are_unique_and_every_reference_has_its_target(tmp_path: Path) -> None:
    html = report(tmp_path, tasks=["One task", "one-task"], traced=1, num_samples=4)
    ids = Counter(re.findall(r'\sid="([^"]*)"', html))
    assert [name for name, count in ids.items() if count > 1] == []
    references = re.findall(r'(?:url\(#|href="#|labelledby=")([^)"]*)', html)
    assert set(references) <= set(ids)


def test_energy_by_role_where_it_was_measured(tmp_path: Path) -> None:
    html = report(tmp_path, joules=(2.0, 4.0))
    assert (tmp_path / "plots" / "text-to-sql-energy.svg").exists()
    assert "Energy was not measured" not in html


def test_a_sample_whose_answers_differ_is_open(tmp_path: Path) -> None:
    def edit(record: Record) -> Record:
        differs = record.sample == "sample-1" and record.configuration == "mtad"
        return replace(record, scores={"execution_accuracy": float(not differs)})

    html = report(tmp_path, edit=edit)
    opened = re.findall(r'<details class="sample"[^>]* open>.*?Question (\d)', html, re.DOTALL)
    assert opened == ["1"]


def test_answers_of_several_turns_and_long_code(tmp_path: Path) -> None:
    code = "    total = 0\n" * 200

    def edit(record: Record) -> Record:
        (turn,) = record.turns
        rounds = turn.rounds * 200
        return replace(record, turns=(replace(turn, text=code), replace(turn, text="second", rounds=rounds)))

    html = report(tmp_path, edit=edit)
    assert "turn 2" in html
    assert "more rounds are not shown" in html
    assert code in html


def test_forty_configurations(tmp_path: Path) -> None:
    html = report(
        tmp_path,
        num_samples=6,
        threshold=[0.1, 0.3, 0.5, 0.9],
        draft_length=[1, 2, 4, 8, 16],
        beam_width=[2, 4],
    )
    assert html.count("mtad γ=16 b=4 τ=0.9") > 3
    assert "Rounds are shown of the first 12 configurations" in html
    assert all(f"mtad by {dial}" in html for dial in ("threshold τ", "draft length γ", "beam width b"))
    assert len(list((tmp_path / "plots").glob("*sweep-mtad*.svg"))) == 9
    assert len(html) < 3_000_000


def no_tokens(record: Record) -> Record:
    turns = tuple(
        replace(turn, usage=turn.usage | {"completion_tokens": 0, "output_negative_log_likelihood": 0.0})
        for turn in record.turns
    )
    return replace(record, turns=turns, block_seconds=0.0)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"methods": ["mtad"]}, "tokens per second"),
        ({"methods": ["autoregressive"]}, "No configuration drafted anything"),
        ({"num_samples": 1}, "too little was measured to tell"),
        ({"primary": None}, "perplexity excess"),
        ({"edit": failed}, "no sample was answered"),
        ({"edit": failed, "methods": ["mtad"]}, "12 failed"),
        ({"edit": no_tokens}, "Nothing was answered"),
        ({"traced": 0}, "No sample was traced"),
        ({"tasks": ["a", "b"]}, "<h2>b</h2>"),
    ],
    ids=["one", "no-draft", "one-sample", "no-score", "all-failed", "one-failed", "no-tokens", "no-trace", "two-tasks"],
)
def test_runs_with_little_in_them(tmp_path: Path, run: dict[str, Any], said: str) -> None:
    html = report(tmp_path, **run)
    assert said in html
    assert "nan" not in re.sub(r"[A-Za-z]nan|nan[a-z]", "", html)
