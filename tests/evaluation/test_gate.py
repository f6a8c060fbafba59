"""The gate fails what is worse beyond noise and limit, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tandem.errors import InvalidArgument
from tandem.evaluation import records as stored
from tandem.evaluation.gate import Comparison, Limits, compare
from tandem.evaluation.records import Record
from tandem.evaluation.verdicts import headline, junit, markdown
from tests.evaluation.made import record, run_of

Change = Callable[[int, np.random.Generator], dict[str, Any]]


def answers(seed: int, change: Change = lambda index, generator: {}, count: int = 300, **given: Any) -> list[Record]:
    """Answers that are right in six of ten cases, at a perplexity of about 1.1; `change` makes some of them worse."""
    generator = np.random.default_rng(seed)
    found = []
    for index in range(count):
        fields: dict[str, Any] = {
            "usage": {"output_negative_log_likelihood": float(generator.gamma(2.0) / 2)},
            "scores": {"execution_accuracy": float(generator.random() < 0.6)},
            "block_seconds": float(generator.normal(1.0, 0.05)) if not index % 20 else 0.0,
        }
        changed = change(index, generator)
        fields["usage"] |= changed.pop("usage", {})
        found.append(record(sample=f"s{index}", block=index // 20, **(fields | changed | given)))
    return found


def held(folder: Path, base: list[Record], new: list[Record], limits: Limits | None = None, **given: Any) -> Comparison:
    return compare(run_of(folder / "base", base), run_of(folder / "new", new, **given), limits or Limits())


def failed(comparison: Comparison) -> set[str]:
    return {check.figure for check in comparison.having("drifted")}


def test_a_run_against_itself_is_within_every_limit(tmp_path: Path) -> None:
    comparison = held(tmp_path, answers(1), answers(1))
    assert {check.verdict for check in comparison.checks} == {"ok"}
    assert len(comparison.checks) == 6
    assert headline(comparison).startswith("No drift: all 6")


@pytest.mark.parametrize("seed", range(20))
def test_equal_runs_with_other_seeds_pass(tmp_path: Path, seed: int) -> None:
    assert failed(held(tmp_path, answers(2 * seed), answers(2 * seed + 1))) == set()


def worse_accuracy(index: int, generator: np.random.Generator) -> dict[str, Any]:
    return {"scores": {"execution_accuracy": 0.0}} if index % 8 == 0 else {}


def worse_perplexity(index: int, generator: np.random.Generator) -> dict[str, Any]:
    return {"usage": {"output_negative_log_likelihood": float(generator.gamma(2.0) / 2) * 1.4}}


def more_passes(index: int, generator: np.random.Generator) -> dict[str, Any]:
    return {"usage": {"num_target_passes": 5}}


def slower(index: int, generator: np.random.Generator) -> dict[str, Any]:
    return {"block_seconds": 2.5 if not index % 20 else 0.0}


def failing(index: int, generator: np.random.Generator) -> dict[str, Any]:
    return {"error": "no", "turns": ()} if index % 20 == 1 else {}


@pytest.mark.parametrize(
    ("change", "figures"),
    [
        (worse_accuracy, {"execution accuracy"}),
        (worse_perplexity, {"perplexity", "perplexity - 1"}),
        (more_passes, {"block efficiency"}),
        (slower, {"tokens/s"}),
        (failing, {"failed answers"}),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_what_got_worse_fails_by_its_own_figure(tmp_path: Path, change: Change, figures: set[str], seed: int) -> None:
    found = failed(held(tmp_path, answers(seed), answers(seed, change)))
    assert figures <= found
    assert found <= figures | {"perplexity", "perplexity - 1"}  # those answer with other random numbers


def test_what_got_better_passes(tmp_path: Path) -> None:
    assert failed(held(tmp_path, answers(3, worse_perplexity), answers(3))) == set()
    assert failed(held(tmp_path / "2", answers(3, worse_accuracy), answers(3))) == set()


def test_a_drop_within_the_limit_passes_however_sure_it_is(tmp_path: Path) -> None:
    limits = Limits(min_accuracy_delta=-20)
    comparison = held(tmp_path, answers(1), answers(1, worse_accuracy), limits)
    assert failed(comparison) == set()


def test_few_samples_do_not_fail_but_say_that_they_cannot_tell(tmp_path: Path) -> None:
    base, new = answers(1, count=12), answers(5, count=12)
    comparison = held(tmp_path, base, new)
    assert failed(comparison) == set()
    assert "execution accuracy" in {check.figure for check in comparison.having("unclear")}
    assert "too few samples" in headline(comparison)


def test_an_infinite_perplexity_is_a_drift(tmp_path: Path) -> None:
    def impossible(index: int, generator: np.random.Generator) -> dict[str, Any]:
        return {"usage": {"output_negative_log_likelihood": np.inf}} if index % 10 == 0 else {}

    assert {"perplexity", "perplexity - 1"} <= failed(held(tmp_path, answers(1), answers(1, impossible)))


def test_speed_is_also_held_against_the_runs_own_baseline(tmp_path: Path) -> None:
    def both(seed: int, change: Change = lambda index, generator: {}, pace: float = 1.0) -> list[Record]:
        plain = answers(seed, configuration="autoregressive")
        mtad = answers(seed + 100, change, configuration="mtad")
        return [replace(answer, block_seconds=pace * answer.block_seconds) for answer in [*plain, *mtad]]

    slower_machine = held(tmp_path, both(1), both(2, pace=1.9))
    assert failed(slower_machine) == set()
    assert "tokens/s over baseline's" in {check.figure for check in slower_machine.checks}
    slower_method = held(tmp_path / "2", both(1), both(2, slower))
    assert "tokens/s over baseline's" in failed(slower_method)


def test_other_machines_are_not_compared_by_speed(tmp_path: Path) -> None:
    comparison = held(tmp_path, answers(1), answers(1, slower), environment={"machine": "y", "processors": 2})
    assert failed(comparison) == set()
    assert any("speed is not compared" in note for note in comparison.notes)


def test_checks_may_be_left_out(tmp_path: Path) -> None:
    limits = Limits(None, None, None, None, None, None)
    comparison = held(tmp_path, answers(1), answers(1, worse_accuracy), limits)
    assert [check.figure for check in comparison.checks] == ["failed answers"]


def test_settings_that_differ_are_noted(tmp_path: Path) -> None:
    comparison = held(tmp_path, answers(1), answers(1), threshold=[0.001])
    assert "mtad: threshold was 0.5, is 0.001" in comparison.notes


def test_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no configuration in common"):
        held(tmp_path, answers(1), answers(1, configuration="block"))
    renamed = [record(sample=f"other{index}") for index in range(3)]
    with pytest.raises(InvalidArgument, match="no sample in common"):
        held(tmp_path / "2", answers(1), renamed)


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    base, new = run_of(tmp_path / "base", answers(1)), run_of(tmp_path / "new", answers(1))
    path = tmp_path / "new" / stored.FILE_NAME
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-30]))
    with pytest.raises(InvalidArgument, match="30 answers are missing"):
        compare(base, type(new).load(new.folder), Limits())


def test_junit_and_markdown_say_what_failed(tmp_path: Path) -> None:
    comparison = held(tmp_path, answers(1), answers(1, worse_accuracy))
    suite = ElementTree.fromstring(junit(comparison))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("6", "1")
    (failure,) = suite.iter("failure")
    assert "execution accuracy went from" in str(failure.get("message"))
    text = markdown(comparison)
    assert text.startswith("### Drifted: 1 of 6 checks fail")
    assert "| text-to-sql | `mtad` | execution accuracy |" in text
    assert text.count("❌") == 1
