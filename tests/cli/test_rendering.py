from __future__ import annotations

import pytest

from tandem.cli import rendering
from tandem.decoding.stats import RunningUsage
from tandem.decoding.values import Outcome, RoundTrace, StageTimings
from tandem.generation import Generation, Round

CHAIN = RoundTrace((1, 2, 3), (-1, 0, 1), (-0.1, -0.2, -0.3), (-0.2, -0.4, -9.0))
TREE = RoundTrace((1, 2, 3, 4), (-1, -1, 0, 1), (-0.1,) * 4, (-0.2,) * 4)


def _round(token_ids: tuple[int, ...], num_accepted: int, trace: RoundTrace | None) -> Round:
    num_drafted = 0 if trace is None else 3
    outcome = Outcome(token_ids, num_accepted, num_drafted, (-0.1,) * len(token_ids), trace=trace)
    return Round.of(9, outcome)


def _pieces(traced: Round, style: str) -> list[str]:
    text = rendering.render_round(traced, lambda token: f"<{token}>")
    return [text.plain[span.start : span.end] for span in text.spans if span.style == style]


@pytest.mark.parametrize(
    ("token_ids", "num_accepted", "accepted", "refused", "extra", "kind"),
    [
        ((1, 2, 7), 2, ["<1>", "<2>"], ["<3>"], ["<7>"], "correction"),
        ((1, 2, 3, 7), 3, ["<1>", "<2>", "<3>"], [], ["<7>"], "bonus"),
        ((7,), 0, [], ["<1>", "<2>", "<3>"], ["<7>"], "correction"),
    ],
)
def test_a_chain_shows_what_was_accepted_refused_and_added(
    token_ids: tuple[int, ...], num_accepted: int, accepted: list[str], refused: list[str], extra: list[str], kind: str
) -> None:
    traced = _round(token_ids, num_accepted, CHAIN)
    assert _pieces(traced, rendering.ACCEPTED) == accepted
    assert _pieces(traced, rendering.REFUSED) == refused
    assert _pieces(traced, rendering.EXTRA) == extra
    assert kind in rendering.render_round(traced, str).plain


def test_a_tree_shows_every_candidate_and_accepts_one() -> None:
    traced = _round((2, 4, 7), 2, TREE)
    assert _pieces(traced, rendering.ACCEPTED) == ["<2>", "<4>"]
    assert _pieces(traced, rendering.REFUSED) == ["<1>", "<3>"]
    assert rendering.render_round(traced, str).plain.count("drafted") == 2


def test_a_round_of_the_target_alone_shows_its_tokens() -> None:
    traced = _round((5, 6), 0, None)
    assert _pieces(traced, rendering.EXTRA) == ["<5>", "<6>"]


def test_a_round_without_a_draft_shows_the_targets_token() -> None:
    traced = _round((5,), 0, RoundTrace((), (), (), ()))
    assert _pieces(traced, rendering.EXTRA) == ["<5>"]
    assert "drafted" not in rendering.render_round(traced, str).plain


def test_line_breaks_are_shown_as_they_would_be_written() -> None:
    assert "\\n" in rendering.render_round(_round((5,), 0, None), lambda _: "a\n").plain


def test_a_cut_round_is_shown_without_an_extra_token() -> None:
    traced = _round((1, 2), 2, CHAIN)
    assert traced.extra_token_id is None
    assert traced.timings == StageTimings()
    assert _pieces(traced, rendering.EXTRA) == []


def test_the_line_of_figures() -> None:
    running = RunningUsage("mtad", 3)
    running.add(Outcome((1, 2, 3, 4, 5), 4, 4, (-0.1,) * 5))
    running.add(Outcome((1, 2), 1, 4, (-0.1,) * 2))
    made = Generation("x", (1,) * 7, (1, 2, 3), "length", "s", running.usage(0.1, 0.7), "mtad", 42)
    line = rendering.figures(made, 0.75)
    for expected in (
        "mtad, seed 42",
        "7 tokens (length)",
        "62% of 8",
        "3.50 tokens per round",
        "1.105",
        "10 tokens/s",
        "100 ms",
    ):
        assert expected in line
    assert "J/token" not in line  # not measured, not mentioned


def test_the_line_of_figures_tells_energy_where_it_was_measured() -> None:
    running = RunningUsage("mtad", 3)
    running.add(Outcome((1, 2, 3), 2, 4, (-0.1,) * 3, draft_joules=0.5, verify_joules=2.5))
    made = Generation("x", (1,) * 3, (1, 2, 3), "length", "s", running.usage(0.1, 0.7), "mtad", 42)
    assert "1 J/token (draft 0.5 J, verify 2.5 J)" in rendering.figures(made, 0.75)
