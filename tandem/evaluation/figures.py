"""What one configuration did on one task: quality and cost, with intervals, and against a baseline."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tandem.evaluation.columns import Blocks, Columns
from tandem.evaluation.paired import Paired, compared
from tandem.evaluation.records import Record, Turn
from tandem.evaluation.statistics import Estimate, Floats, Statistic, estimate, paired_p_value, perplexity, ratio

LEAST_BLOCKS = 5
"""Of which a speed's interval is made."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of a latency, in seconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quantiles | None:
        """None for no values."""
        if not values:
            return None
        p50, p95, p99 = np.quantile(values, [0.5, 0.95, 0.99]).tolist()
        return cls(p50, p95, p99)


@dataclass(frozen=True, slots=True)
class Differences:
    """A configuration minus its baseline, paired by sample."""

    scores: dict[str, Estimate]
    score_p_values: dict[str, float]
    """That a score's mean difference is zero: paired permutation test, two-sided."""
    output_perplexity: Estimate
    excess_perplexity_reduction: Estimate
    """1 - (PPL - 1) / (baseline's PPL - 1): what of the perplexity's excess over 1 is gone."""
    tokens_per_second_ratio: Estimate
    same_answers: float
    """Share of the answers that are the baseline's to the letter."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One configuration on one task. Ratios are weighted by token or round, not averaged over answers."""

    task: str
    label: str
    configuration: dict[str, Any]
    num_samples: int
    """Answers asked for: samples x repetitions."""
    num_failed: int
    """Those without an answer."""
    num_tokens: int
    primary: str | None
    """The score that is meant by "accuracy"."""
    scores: dict[str, Estimate]
    output_perplexity: Estimate
    """Under the unwarped target, weighted by token."""
    output_perplexity_by_sample: Estimate
    """Mean over samples of each answer's own perplexity."""
    block_efficiency: Estimate
    """Tokens emitted per target pass."""
    acceptance_rate: Estimate | None
    """Accepted drafted tokens / drafted tokens; None where nothing was drafted."""
    mean_acceptance_length: float | None
    """1 + accepted / rounds with a proposal."""
    acceptance_histogram: tuple[int, ...]
    """Rounds by number of accepted tokens, from 0."""
    acceptance_by_position: tuple[float, ...]
    """Share of the rounds in which the token drafted at each position, from the first, was accepted."""
    tokens_per_second: Estimate
    """Of all samples asked at once together."""
    time_to_first_token_seconds: Quantiles | None
    time_per_output_token_seconds: Quantiles | None
    stage_seconds: dict[str, float]
    """Median by stage of a round, over traced rounds."""
    draft_joules_per_token: float | None
    """None is not measured."""
    verify_joules_per_token: float | None
    versus_baseline: Differences | None = None

    @property
    def accuracy(self) -> Estimate | None:
        """The primary score."""
        return self.scores.get(self.primary) if self.primary else None

    @property
    def joules_per_token(self) -> float | None:
        """Of all roles together; None where one was not measured."""
        if self.draft_joules_per_token is None or self.verify_joules_per_token is None:
            return None
        return self.draft_joules_per_token + self.verify_joules_per_token


def figures_of(
    records: Sequence[Record],
    configuration: Mapping[str, Any],
    primary: str | None,
    baseline: Sequence[Record] | None,
) -> Figures:
    """Figures of the records of one task and configuration, ``baseline`` being the baseline's on the same task."""
    columns, blocks = Columns.of(records), Blocks.of(records)
    turns = [turn for record in records if not record.error for turn in record.turns]
    counts = columns.counts
    histogram = _histogram(turns)
    num_tokens, num_drafted = counts["completion_tokens"], counts["num_draft_tokens"]
    accepted, steps = counts["num_accepted_draft_tokens"], counts["num_spec_steps"]
    has_draft = bool(num_drafted.sum())
    means = columns.mean_log_likelihoods[columns.answered > 0]
    return Figures(
        task=records[0].task,
        label=records[0].configuration,
        configuration=dict(configuration),
        num_samples=len(records),
        num_failed=sum(bool(record.error) for record in records),
        num_tokens=int(num_tokens.sum()),
        primary=primary,
        scores={name: _score(columns.scores[name], columns.scored[name]) for name in columns.scores},
        output_perplexity=estimate(perplexity, counts["output_negative_log_likelihood"], num_tokens),
        output_perplexity_by_sample=estimate(np.mean, np.exp(means)) if len(means) else Estimate(float("nan")),
        block_efficiency=estimate(ratio, num_tokens, counts["num_target_passes"]),
        acceptance_rate=estimate(ratio, accepted, num_drafted) if has_draft else None,
        mean_acceptance_length=1 + float(ratio(accepted, steps)) if steps.sum() else None,
        acceptance_histogram=histogram,
        acceptance_by_position=_by_position(histogram),
        tokens_per_second=_speed(ratio, blocks.num_tokens, blocks.seconds),
        time_to_first_token_seconds=Quantiles.of([turn.usage["time_to_first_token_seconds"] for turn in turns]),
        time_per_output_token_seconds=Quantiles.of(
            [t.usage["time_per_output_token_seconds"] for t in turns if t.usage["completion_tokens"] > 1]
        ),
        stage_seconds=_stages(turns),
        draft_joules_per_token=_joules_per_token(turns, "draft_joules"),
        verify_joules_per_token=_joules_per_token(turns, "verify_joules"),
        versus_baseline=None if baseline is None else _differences(records, baseline),
    )


def _speed(statistic: Statistic, *columns: Floats) -> Estimate:
    """Without an interval where there are few blocks: resampling two or three says nothing of their spread."""
    figure = estimate(statistic, *columns)
    return figure if len(columns[0]) >= LEAST_BLOCKS else Estimate(figure.value)


def _score(total: Floats, count: Floats) -> Estimate:
    """Without an interval where all answers score alike: resampling them would claim to be certain."""
    figure = estimate(ratio, total, count)
    return Estimate(figure.value) if figure.low == figure.high else figure


def _histogram(turns: Sequence[Turn]) -> tuple[int, ...]:
    width = max((len(turn.usage["acceptance_histogram"]) for turn in turns), default=0)
    total = np.zeros(width, np.int64)
    for turn in turns:
        own = turn.usage["acceptance_histogram"]
        total[: len(own)] += np.array(own, np.int64)
    return tuple(total.tolist())


def _by_position(histogram: Sequence[int]) -> tuple[float, ...]:
    """A token at a position was accepted in those rounds that accepted as many tokens or more."""
    rounds = sum(histogram)
    return tuple(sum(histogram[position:]) / rounds for position in range(1, len(histogram))) if rounds else ()


def _stages(turns: Sequence[Turn]) -> dict[str, float]:
    seconds: dict[str, list[float]] = {}
    for turn in turns:
        for shown in turn.rounds:
            for stage, spent in shown.stage_seconds.items():
                seconds.setdefault(stage, []).append(spent)
    return {stage: statistics.median(spent) for stage, spent in seconds.items()}


def _joules_per_token(turns: Sequence[Turn], role: str) -> float | None:
    """None as soon as one answer was not measured: a partial figure would look like a small one."""
    joules: list[float | None] = [turn.usage[role] for turn in turns]
    num_tokens = sum(turn.usage["completion_tokens"] for turn in turns)
    measured = [value for value in joules if value is not None]
    return sum(measured) / num_tokens if num_tokens and len(measured) == len(joules) else None


def _differences(records: Sequence[Record], baseline: Sequence[Record]) -> Differences:
    paired = Paired.of(records, baseline)
    names = [name for name in paired.new.scores if name in paired.base.scores]
    return Differences(
        scores={name: estimate(compared(ratio, np.subtract), *paired.score(name)) for name in names},
        score_p_values={name: _p_value(*paired.score(name)) for name in names},
        output_perplexity=estimate(compared(perplexity, np.subtract), *paired.likelihoods),
        excess_perplexity_reduction=estimate(compared(perplexity, _excess_reduction), *paired.likelihoods),
        # Block by block: a machine whose speed drifts moves both alike.
        tokens_per_second_ratio=_speed(compared(ratio, np.divide), *paired.speeds),
        same_answers=paired.same_answers,
    )


def _p_value(part: Floats, whole: Floats, base_part: Floats, base_whole: Floats) -> float:
    with np.errstate(invalid="ignore"):
        differences = part / whole - base_part / base_whole
    return paired_p_value(differences[np.isfinite(differences)])


def _excess_reduction(new: Floats, base: Floats) -> Floats:
    return 1 - (new - 1) / (base - 1)
