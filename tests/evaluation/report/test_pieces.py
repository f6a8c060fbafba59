"""Parts of the report that can be wrong without looking wrong."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from tandem.evaluation.experiment import Configuration
from tandem.evaluation.figures import Differences, Figures
from tandem.evaluation.records import ShownRound
from tandem.evaluation.report.canvas import begin_axes, style
from tandem.evaluation.report.headline import MOST_SENTENCES, headline
from tandem.evaluation.report.inlining import cleaned, inlined
from tandem.evaluation.report.palette import DARK, LIGHT, looks
from tandem.evaluation.report.pareto import front
from tandem.evaluation.report.placing import Labelled, place
from tandem.evaluation.report.plots.sweep import sweeps
from tandem.evaluation.report.samples import lines_of, visible
from tandem.evaluation.report.wording import fixed, interval, precise, seconds, slug
from tandem.evaluation.statistics import Estimate

NAN = float("nan")


def figures(label: str, versus: Differences | None = None, **configuration: object) -> Figures:
    return Figures(
        task="t",
        label=label,
        configuration={"method": label.split()[0]} | configuration,
        num_samples=10,
        num_failed=0,
        num_tokens=100,
        primary="accuracy",
        scores={"accuracy": Estimate(0.5, 0.4, 0.6)},
        output_perplexity=Estimate(1.1, 1.05, 1.15),
        output_perplexity_by_sample=Estimate(1.1),
        block_efficiency=Estimate(3.0),
        acceptance_rate=None,
        mean_acceptance_length=None,
        acceptance_histogram=(),
        acceptance_by_position=(),
        tokens_per_second=Estimate(400.0, 380.0, 420.0),
        time_to_first_token_seconds=None,
        time_per_output_token_seconds=None,
        stage_seconds={},
        draft_joules_per_token=None,
        verify_joules_per_token=None,
        versus_baseline=versus,
    )


def differences(score: Estimate, excess: Estimate, speed: Estimate) -> Differences:
    return Differences({"accuracy": score}, {}, Estimate(-0.02, -0.03, -0.01), excess, speed, 0.5)


NOISE = Estimate(0.01, -0.05, 0.06)
SAME_SPEED = Estimate(1.02, 0.9, 1.1)


def test_front_keeps_what_nothing_else_beats_in_both() -> None:
    points = [(1.0, 5.0), (2.0, 4.0), (2.0, 3.0), (3.0, 1.0), (0.5, 4.9), (NAN, 9.0), (9.0, NAN)]
    assert front(points) == [0, 1, 3]


def test_front_keeps_equal_points_and_needs_none() -> None:
    assert front([(1.0, 1.0), (1.0, 1.0), (0.0, 1.0)]) == [0, 1]
    assert front([]) == []


def test_headline_claims_what_intervals_support_and_calls_the_rest_noise() -> None:
    versus = differences(Estimate(0.163, 0.05, 0.27), Estimate(0.25, 0.1, 0.38), Estimate(1.13, 1.05, 1.2))
    rows = [figures("autoregressive"), figures("mtad", versus)]
    (sentence,) = headline(rows, "autoregressive")
    assert sentence.text == (
        "accuracy +16.3 points [+5.0, +27.0]; perplexity excess −25% [−38, −10]; "
        "1.13× [1.05, 1.20] the tokens per second of autoregressive"
    )


def test_headline_within_noise() -> None:
    rows = [figures("autoregressive"), figures("mtad", differences(NOISE, NOISE, SAME_SPEED))]
    assert headline(rows, "autoregressive")[0].text == "no difference from autoregressive beyond noise"


def test_headline_mixes_and_says_when_too_little_was_measured() -> None:
    rows = [figures("mtad", differences(NOISE, Estimate(-0.2, -0.3, -0.1), Estimate(1.5)))]
    assert headline(rows, "autoregressive")[0].text == (
        "perplexity excess +20% [+10, +30]; accuracy: no difference beyond noise; "
        "speed: too little was measured to tell"
    )


def test_headline_without_excess_tells_perplexity_itself() -> None:
    rows = [figures("mtad", differences(NOISE, Estimate(NAN), SAME_SPEED))]
    assert headline(rows, "autoregressive")[0].text.startswith("perplexity −0.020 [−0.030, −0.010]")


def test_headline_of_many_counts_and_names_the_best() -> None:
    rows = [figures("autoregressive")]
    for index in range(20):
        gain = Estimate(0.01 * index, 0.01 * index - 0.1, 0.01 * index + 0.1)
        rows.append(figures(f"mtad {index}", differences(gain, NOISE, SAME_SPEED)))
    sentences = headline(rows, "autoregressive")
    assert "accuracy higher in 9;" in sentences[0].text
    assert "speed differs in none" in sentences[0].text
    assert len(sentences) <= MOST_SENTENCES
    assert "mtad 19" in [sentence.label for sentence in sentences]


def test_headline_of_one_configuration_stands_alone() -> None:
    assert headline([figures("mtad")], "mtad")[0].text == (
        "accuracy 50.0% [40.0, 60.0]; perplexity 1.100 [1.050, 1.150]; 400 [380, 420] tokens per second"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(-0.0001, "0.0"), (0.0, "0.0"), (-1.25, "−1.2"), (NAN, "–"), (math.inf, "–"), (3.0, "+3.0")]
)
def test_numbers_are_written_with_a_real_minus_and_no_negative_zero(value: float, text: str) -> None:
    assert fixed(1, sign=True)(value) == text


def test_decimals_follow_the_interval() -> None:
    form = precise([Estimate(1.0674321, 1.057, 1.078), Estimate(1.2)])
    assert (form(1.0674321), interval(Estimate(1.0, 0.99, 1.01), form)) == ("1.067", "[0.990, 1.010]")
    assert interval(Estimate(1.0), form) == ""


def test_seconds_and_slugs() -> None:
    assert [seconds(value) for value in (0.0021, 0.25, 31.0, None)] == ["2.1 ms", "250 ms", "31.0 s", "–"]
    assert slug("../../Etc <b>") == "etc-b"
    assert slug("!") == "unnamed"


def test_colours_are_told_apart_by_their_light_form_alone() -> None:
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert LIGHT.keys() == DARK.keys()


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_lines_and_bars_stand_out_from_their_background(theme: dict[str, str]) -> None:
    drawn = [name for name in theme if name.startswith(("series", "ordinal"))] + ["draft", "forward", "judge"]
    assert {
        name: _contrast(theme[name], theme["paper"]) for name in drawn if _contrast(theme[name], theme["paper"]) < 3
    } == {}


def test_a_configuration_has_a_colour_of_its_own_while_there_are_enough() -> None:
    few = {f"mtad {index}": Configuration(method="mtad", draft_length=index + 1) for index in range(7)}
    few["autoregressive"] = Configuration(method="autoregressive")
    slots = {label: look.slot for label, look in looks(few, "autoregressive").items()}
    assert slots["autoregressive"] == 0
    assert len(set(slots.values())) == 8
    many = few | {f"block {index}": Configuration(method="block", draft_length=index + 1) for index in range(7)}
    slots = {label: look.slot for label, look in looks(many, "autoregressive").items()}
    assert len({slot for label, slot in slots.items() if label.startswith("mtad")}) == 1
    assert slots["mtad 0"] != slots["block 0"]


def test_inlined_plots_have_ids_of_their_own_and_colours_by_name() -> None:
    raw = (
        '<?xml version="1.0"?><!DOCTYPE svg><svg width="10pt" height="5pt" viewBox="0 0 10 5"><metadata>x</metadata>'
        f'<g id="figure_1"><path id="m1" style="stroke: {LIGHT["series-1"]}"/><use xlink:href="#m1"/></g></svg>'
    )
    svg = inlined(cleaned(raw), "a-b", 'over "speed" <b>')
    assert svg.startswith('<svg viewBox="0 0 10 5" role="img" aria-label="over &#34;speed&#34; &lt;b&gt;">')
    assert 'id="a-b-m1"' in svg
    assert 'href="#a-b-m1"' in svg
    assert "figure_1" not in svg
    assert "stroke: var(--series-1)" in svg


def test_labels_do_not_cover_each_other() -> None:
    points = [
        Labelled(f"mtad γ={index} τ=0.5", 400 + 3.0 * index, 0.5, (395, 405), (0.4, 0.6), is_needed=True)
        for index in range(6)
    ]
    with style():
        _, axes = begin_axes(330)
        axes.plot([380, 430], [0.3, 0.7])
        boxes = place(axes, points, points)
    assert len(boxes) == 6
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_sweep_has_a_line_a_value_of_the_other_dial_and_holds_the_rest() -> None:
    rows = [
        figures(
            "autoregressive", draft_length=None, beam_width=None, threshold=None, temperature=1.0, top_k=10, top_p=0.9
        )
    ]
    for draft_length, beam_width, threshold in itertools.product((2, 4, 8), (1, 4), (0.1, 0.3, 0.5, 0.9)):
        label = f"mtad {draft_length} {beam_width} {threshold}"
        settings = {"draft_length": draft_length, "beam_width": beam_width, "threshold": threshold}
        rows.append(figures(label, **settings, temperature=1.0, top_k=10, top_p=0.9))
    found = {sweep.dial: sweep for sweep in sweeps(rows)}
    assert set(found) == {"threshold", "draft_length", "beam_width"}
    assert list(found["threshold"].lines) == ["γ=2", "γ=4", "γ=8"]
    assert found["threshold"].held == "beam width b = 4"
    line = found["draft_length"].lines["τ=0.3"]
    assert [row.configuration["draft_length"] for row in line] == [2, 4, 8]


def test_a_round_shows_what_was_accepted_refused_and_added() -> None:
    drafted = ((" SELECT", " name", ","), (" SELECT", " age", " FROM"))
    (line,) = lines_of([ShownRound(drafted, 1, " id", -1.5, -2.25, {})])
    assert [(token.text, token.kind) for token in line.tokens] == [
        (" SELECT", "accepted"),
        (" name", "refused"),
        (",", "refused"),
        (" id", "extra"),
    ]
    assert line.note == "correction"
    assert line.detail == "1 of 3 kept · joint log-prob. draft −1.50, target −2.25"
    assert [token.kind for token in line.others[0]] == ["accepted", "refused", "refused"]


def test_a_bonus_and_the_end_of_a_text() -> None:
    bonus, end = lines_of(
        [
            ShownRound(((" a", " b"),), 2, " c", 0.0, 0.0, {}),
            ShownRound(((" d", "<end>", "<end>"),), 2, "", 0.0, -math.inf, {}),
        ]
    )
    assert bonus.note == "bonus"
    assert [token.kind for token in end.tokens] == ["accepted", "accepted", "cut"]
    assert end.detail.endswith("target −∞")


def test_rounds_without_a_draft_share_a_line() -> None:
    alone = ShownRound((), 0, " x", 0.0, 0.0, {})
    lines = list(lines_of([alone, alone, ShownRound(((" a",),), 1, " c", 0.0, 0.0, {}), alone]))
    assert [line.name for line in lines] == ["1–2", "3", "4"]


def test_a_block_that_the_target_drew_is_not_refused() -> None:
    drawn = ShownRound(((" a", " b"),), 0, " a b", -0.5, -0.5, {})
    (line,) = lines_of([drawn], drafts_itself=True)
    assert [(token.text, token.kind) for token in line.tokens] == [(" a", "extra"), (" b", "extra")]
    (cut,) = lines_of([replace(drawn, extra=" a")], drafts_itself=True)
    assert [token.text for token in cut.tokens] == [" a"]


def test_tokens_are_visible() -> None:
    assert [visible(piece) for piece in ("\n", " a", "", "\x07", "é")] == ["↵", " a", "∅", "\\x07", "é"]
