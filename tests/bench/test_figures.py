"""Figures, from groups with known times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tandem.bench import records, report
from tandem.bench.contender import Answer, Arrival
from tandem.bench.figures import Measured, geometric_mean
from tandem.bench.plots import write_plots
from tandem.bench.records import Cell, Group, Text
from tandem.bench.stages import OUTSIDE, PERIOD, rounds_of
from tandem.decoding.values import StageTimings
from tandem.errors import InvalidArgument
from tandem.generation import Round


def text(*arrivals: tuple[float, int], checksum: int = 1) -> Text:
    return Text(sum(tokens for _, tokens in arrivals), tuple(Arrival(*each) for each in arrivals), checksum)


def group(repetition: int, concurrency: int, ours: float, peer: float, *, checksum: int = 1) -> Group:
    """Ten tokens each, in so many seconds."""
    mine = text((0.1, 4), (0.3, 3), (0.73, 3))
    theirs = text((0.2, 1), *((0.2 + 0.1 * step, 1) for step in range(1, 10)), checksum=checksum)
    cells = (Cell("services:mtad", 0, ours, (mine,)), Cell("generate", 0, peer, (theirs,)))
    stages = {"draft": 0.001, "forward": 0.002, PERIOD: 0.005, OUTSIDE: 0.002}
    return Group(repetition, concurrency, cells, (stages,), (("verify", 100), ("verify", 50), ("draft", 7)))


@pytest.fixture
def groups() -> list[Group]:
    return [group(0, 1, 1.0, 2.0), group(0, 4, 0.5, 2.0), group(1, 1, 2.0, 8.0, checksum=2), group(1, 4, 1.0, 4.0)]


def test_every_token_is_counted_once(groups: list[Group]) -> None:
    (ours, *_), *_ = [Measured(groups).figures()]
    assert (ours.contender, ours.concurrency, ours.num_requests, ours.num_tokens) == ("services:mtad", 1, 2, 20)
    assert ours.tokens_per_second.value == pytest.approx((10 * 5) ** 0.5)
    assert ours.time_to_first_token is not None
    assert ours.time_to_first_token.p50 == pytest.approx(0.1)
    assert ours.time_per_output_token is not None
    assert ours.time_per_output_token.p50 == pytest.approx(0.105)  # six tokens in 0.63 s after the first arrival
    assert ours.inter_token is not None
    assert ours.inter_token.p50 == pytest.approx(0.315)  # of 0.2 and 0.43
    assert ours.inter_token.p99 == pytest.approx(0.43, abs=0.01)


def test_ratios_are_taken_repetition_by_repetition(groups: list[Group]) -> None:
    ratios = Measured(groups).ratios(["services:mtad"])
    found = {(ratio.concurrency, ratio.over, ratio.over_concurrency): ratio.value for ratio in ratios}
    assert found[1, "generate", 1].value == pytest.approx((2 * 4) ** 0.5)
    assert found[4, "generate", 4].value == pytest.approx(4.0)
    assert found[4, "generate", 4].low == pytest.approx(4.0)
    assert found[4, "services:mtad", 1].value == pytest.approx(2.0)
    assert len(found) == 3


def test_an_interval_is_students_of_the_logarithms() -> None:
    """Of the logarithms -1, 0, 1: mean 0, standard error 1/√3, and t = 4.303 with two degrees of freedom."""
    found = geometric_mean([2.718281828**power for power in (-1, 0, 1)])
    assert found.value == pytest.approx(1.0)
    assert found.high == pytest.approx(2.718281828 ** (4.3027 / 3**0.5), rel=1e-3)
    assert found.low == pytest.approx(1 / (found.high or 0))
    assert geometric_mean([3.0]).low is None


def test_agreement_counts_texts_that_are_the_same(groups: list[Group]) -> None:
    (agreement,) = Measured(groups).agreements()
    assert (agreement.contender, agreement.first, agreement.share) == ("generate", "services:mtad", 0.75)


def test_the_document_keeps_its_shape(groups: list[Group]) -> None:
    """Who reads ``bench.json`` relies on these names: raise `report.SCHEMA` when one changes."""
    written = json.loads(json.dumps(report.document({"plan": {}}, Measured(groups), ["services:mtad"])))
    assert written["schema"] == 1
    estimate, spread = {"value", "low", "high"}, {"p50", "p95", "p99"}
    assert set(written) == {"schema", "plan", "figures", "ratios", "rounds", "agreement", "resident_bytes"}
    durations = {"time_to_first_token", "time_per_output_token", "inter_token"}
    row = written["figures"][0]
    assert set(row) == {
        "contender",
        "concurrency",
        "num_requests",
        "num_tokens",
        "tokens_per_second",
        *durations,
    }
    assert set(row["tokens_per_second"]) == estimate
    assert all(set(row[name]) == spread for name in durations)
    ratio = written["ratios"][0]
    assert set(ratio) == {"contender", "concurrency", "over", "over_concurrency", "value"}
    assert set(ratio["value"]) == estimate
    rounds = written["rounds"][0]
    assert set(rounds) == {"concurrency", "num_rounds", "stages"}
    assert rounds["num_rounds"] == 2
    assert set(rounds["stages"]["forward"]) == spread
    assert set(written["agreement"][0]) == {"contender", "first", "share"}
    assert written["resident_bytes"] == {"verify": [150] * 4, "draft": [7] * 4}


def test_groups_are_read_as_they_were_written_and_a_torn_one_is_left_out(groups: list[Group], tmp_path: Path) -> None:
    for each in groups:
        records.append(tmp_path, each)
    with (tmp_path / records.FILE_NAME).open("a") as file:
        file.write('{"repetition": 2, "concurr')
    assert list(records.read(tmp_path)) == groups
    records.append(tmp_path, groups[0])
    assert list(records.read(tmp_path)) == [*groups, groups[0]]
    (tmp_path / records.FILE_NAME).write_text('{"repetition": 2}\n')
    with pytest.raises(InvalidArgument, match="line 1 is no group"):
        records.read(tmp_path)


def test_plots_are_pictures(groups: list[Group], tmp_path: Path) -> None:
    paths = write_plots(tmp_path, Measured(groups))
    assert [path.name for path in paths] == ["bench-speed.png", "bench-rounds.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    assert "services:mtad" in (tmp_path / "bench-speed.svg").read_text()


def traced(**timings: float) -> Round:
    return Round(0, (), (), (), (), (), None, (1,), StageTimings(**timings))


def test_outside_is_what_the_models_do_not_need() -> None:
    first, second, third = Arrival(0.1, 1), Arrival(0.110, 1), Arrival(0.2, 2)
    slow = traced(draft_seconds=0.002, forward_seconds=0.003, verify_round_trip_seconds=0.006)
    answer = Answer((1, 2, 3, 4), (first, second, third), ((first, slow), (second, slow), (third, slow), (third, slow)))
    (found,) = rounds_of([answer])  # the first reads the prompt; the last two arrived together
    assert found[PERIOD] == pytest.approx(0.010)
    assert found[OUTSIDE] == pytest.approx(0.005)
    assert found["wire"] == pytest.approx(0.003)
