"""What a task's figures say, in sentences that claim no more than their intervals do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tandem.evaluation.figures import Differences, Figures
from tandem.evaluation.report.measures import spoken
from tandem.evaluation.report.wording import (
    PERCENT,
    POINTS,
    SIGNED_PERCENT,
    TIMES,
    count,
    differs,
    fixed,
    precise,
    stated,
)
from tandem.evaluation.statistics import Estimate

MOST_SENTENCES = 10
_UNANSWERED = "no sample was answered"


@dataclass(frozen=True, slots=True)
class Sentence:
    """About one configuration, or about all where ``label`` is empty."""

    label: str
    text: str


def headline(rows: Sequence[Figures], baseline: str) -> list[Sentence]:
    """Every configuration against the baseline; of many, how many differ and those that differ most."""
    compared = [(row, row.versus_baseline) for row in rows if row.versus_baseline is not None]
    if not compared:
        return [Sentence(row.label, _absolute(row)) for row in rows[:MOST_SENTENCES]]
    if len(compared) <= MOST_SENTENCES:
        return [Sentence(row.label, against(row, versus, baseline)) for row, versus in compared]
    chosen = _most_different(compared)
    sentences = [Sentence(row.label, against(row, versus, baseline)) for row, versus in compared if row.label in chosen]
    lead = _counts(compared, baseline) + (" The best of these:" if sentences else "")
    return [Sentence("", lead), *sentences]


def against(row: Figures, versus: Differences, baseline: str) -> str:
    """One configuration's differences from the baseline, those within noise as such."""
    if row.num_failed == row.num_samples:
        return _UNANSWERED
    told: list[str] = []
    within: list[str] = []
    unknown: list[str] = []

    def sort(name: str, text: str, difference: Estimate, neutral: float = 0.0) -> None:
        if difference.low is None:
            unknown.append(name)
        elif differs(difference, neutral):
            told.append(text)
        else:
            within.append(name)

    score = versus.scores.get(row.primary) if row.primary else None
    if row.primary and score is not None:
        name = spoken(row.primary)
        sort(name, f"{name} {_points(score)}", score)
    excess, perplexity = _less(versus.excess_perplexity_reduction), versus.output_perplexity
    if math.isfinite(excess.value):
        sort("perplexity", f"perplexity excess {stated(excess, SIGNED_PERCENT)}", excess)
    else:  # of a baseline that is certain of every token there is nothing to reduce
        sort("perplexity", f"perplexity {stated(perplexity, precise([perplexity], sign=True))}", perplexity)
    speed = versus.tokens_per_second_ratio
    sort("speed", f"{stated(speed, TIMES)} the tokens per second of {baseline}", speed, neutral=1.0)
    if not told and not unknown:
        return f"no difference from {baseline} beyond noise"
    if within:
        told.append(f"{_listed(within)}: no difference beyond noise")
    if unknown:
        told.append(f"{_listed(unknown)}: too little was measured to tell")
    return "; ".join(told)


def _points(score: Estimate) -> str:
    bracket = stated(score, POINTS)
    value, _, rest = bracket.partition(" ")
    return f"{value} points {rest}".rstrip()


def _less(reduction: Estimate) -> Estimate:
    """A reduction as a change: less is negative."""
    if reduction.low is None or reduction.high is None:
        return Estimate(-reduction.value)
    return Estimate(-reduction.value, -reduction.high, -reduction.low)


def _absolute(row: Figures) -> str:
    told = []
    if row.num_failed == row.num_samples:
        return _UNANSWERED
    if row.primary and row.accuracy is not None:
        told.append(f"{spoken(row.primary)} {stated(row.accuracy, PERCENT)}")
    told.append(f"perplexity {stated(row.output_perplexity, precise([row.output_perplexity]))}")
    told.append(f"{stated(row.tokens_per_second, fixed(0))} tokens per second")
    return "; ".join(told)


def _counts(compared: Sequence[tuple[Figures, Differences]], baseline: str) -> str:
    primary = compared[0][0].primary
    parts = []
    if primary:
        signs = [differs(v.scores[primary]) for _, v in compared if primary in v.scores]
        parts.append(f"{spoken(primary)} {_split(signs, 'higher', 'lower')}")
    signs = [differs(versus.output_perplexity) for _, versus in compared]
    parts.append(f"perplexity {_split(signs, 'higher', 'lower')}")
    ratios = [versus.tokens_per_second_ratio for _, versus in compared]
    if all(ratio.low is None for ratio in ratios):
        parts.append("of speed too little was measured to tell")
    else:
        parts.append(f"speed {_split([differs(ratio, 1.0) for ratio in ratios], 'higher', 'lower')}")
    begin = f"Of {count(len(compared), 'configuration')} compared with {baseline}, beyond noise: "
    return begin + "; ".join(parts) + "."


def _split(signs: Sequence[int], above: str, below: str) -> str:
    """How many are above and below, as in: higher in 2 and lower in 1."""
    parts = [f"{word} in {signs.count(sign)}" for sign, word in ((1, above), (-1, below)) if signs.count(sign)]
    return " and ".join(parts) or "differs in none"


def _most_different(compared: Sequence[tuple[Figures, Differences]]) -> set[str]:
    """Labels of the best in score, perplexity and speed, each where the difference is beyond noise."""
    primary = compared[0][0].primary
    found: set[str] = set()
    gains = [
        [
            (versus.scores[primary].value, row.label)
            for row, versus in compared
            if primary and primary in versus.scores and differs(versus.scores[primary]) > 0
        ],
        [
            (-versus.output_perplexity.value, row.label)
            for row, versus in compared
            if differs(versus.output_perplexity) < 0
        ],
        [
            (versus.tokens_per_second_ratio.value, row.label)
            for row, versus in compared
            if differs(versus.tokens_per_second_ratio, 1.0) > 0
        ],
    ]
    for gain in gains:
        found.update(label for _, label in sorted(gain, reverse=True)[:2])
    return found


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
