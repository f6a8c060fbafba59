"""The gate: has a run drifted from another by more than is allowed, beyond what chance explains?

Every check is a one-sided test. How far a figure went in the bad direction is computed on paired samples and on
bootstrap resamples of them; the p-value is the share of the resamples in which it stays within its limit. A check
fails where that share is at most 1 - confidence: a drift that chance could explain does not fail, and a difference
within the limit never does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tandem.errors import InvalidArgument
from tandem.evaluation.paired import Paired, compared
from tandem.evaluation.statistics import Floats, Statistic, bootstrap, perplexity, ratio
from tandem.evaluation.summary import Run, by_task_and_configuration

Verdict = Literal["ok", "unclear", "drifted"]
Format = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may change between two runs. None leaves a check out."""

    max_perplexity_increase: float | None = 0.02
    """Of output perplexity, as a share of the base's."""
    max_excess_perplexity_increase: float | None = 0.03
    """Of perplexity - 1, as a share of the base's: the sharper check where perplexity is close to 1, and the same as 2%
    of perplexity where that is 3."""
    min_accuracy_delta: float | None = -1.0
    """Of the task's primary score, in percentage points."""
    max_block_efficiency_loss: float | None = 0.05
    """Of tokens per target pass, as a share of the base's."""
    max_relative_slowdown: float | None = 0.2
    """Of tokens per second over those of the run's own baseline, which a machine's changing speed does not move."""
    max_slowdown: float | None = 0.5
    """Of tokens per second, as a share of the base's: moved by anything else that the machine does."""
    confidence: float = 0.99

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise InvalidArgument(f"confidence is {self.confidence}; expected more than 0.5 and less than 1")


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of one configuration on one task, held against its limit."""

    task: str
    configuration: str
    figure: str
    base: str
    new: str
    drift: str
    """How far the figure went in the bad direction."""
    highest: str
    """How far it may have gone at the given confidence; empty where there is too little to tell."""
    limit: str
    p_value: float | None
    """That the drift is within its limit; None where there is too little to tell."""
    verdict: Verdict

    @property
    def reason(self) -> str:
        """The check in a sentence."""
        where = f"{self.task}, {self.configuration}"
        p = "" if self.p_value is None else f" (p = {self.p_value:.4f})"
        return (
            f"{where}: {self.figure} went from {self.base} to {self.new}, {self.drift} worse; "
            f"{self.limit} is allowed{p}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs held against each other."""

    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    """What differs besides, and what could not be compared."""

    def having(self, verdict: Verdict) -> list[Check]:
        """The checks that came out so."""
        return [check for check in self.checks if check.verdict == verdict]


def compare(base: Run, new: Run, limits: Limits) -> Comparison:
    """Holds a run against another.

    Raises:
        InvalidArgument: one of them is not finished, or they have no configuration, or of a configuration no sample, in
            common.
    """
    for run in (base, new):
        if run.num_missing:
            raise InvalidArgument(
                f"{run.folder} is not finished: {run.num_missing} answers are missing; the `tandem eval` command that "
                "began it goes on where it stopped"
            )
    before, after = by_task_and_configuration(base.records), by_task_and_configuration(new.records)
    if not before.keys() & after.keys():
        raise InvalidArgument(
            f"the runs have no configuration in common: {base.folder} has {_names(before)}; "
            f"{new.folder} has {_names(after)}"
        )
    checks: list[Check] = []
    notes = [*_machines(base, new), *_models(base, new), *_settings(base, new)]
    if any(_machines(base, new)):
        limits = replace(limits, max_slowdown=None)
    baseline = base.experiment.baseline_label
    for (task, label), records in before.items():
        if (task, label) not in after:
            notes.append(f"{task}, {label} is not in the new run, and was not checked")
            continue
        paired = Paired.of(after[task, label], records)
        if not paired.new.samples:
            raise InvalidArgument(f"{task}, {label}: the runs have no sample in common; expected the same data")
        num_alone = len({record.sample for record in records}) - len(paired.new.samples)
        if num_alone:
            notes.append(f"{task}, {label}: {num_alone} samples of the base are not in the new run, and do not count")
        primary = base.primaries.get(task)
        questions = [*_questions(paired, primary, limits)]
        if label != baseline and {(task, baseline)} <= before.keys() & after.keys():
            reference = Paired.of(after[task, baseline], before[task, baseline])
            questions += _relative_speed(paired, reference, limits)
        checks += [question.ask(task, label, limits.confidence) for question in questions]
    notes += [f"{task}, {label} is new: nothing to hold it against" for task, label in after.keys() - before.keys()]
    return Comparison(tuple(checks), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Question:
    figure: str
    columns: tuple[Floats, ...]
    value: Statistic
    """From the columns of one side."""
    worsening: Callable[[Floats, Floats], Floats]
    """From values of the new side and of the base to how much worse the new one is."""
    limit: float
    shown: Format
    """How a value reads."""
    shown_drift: Format

    def ask(self, task: str, label: str, confidence: float) -> Check:
        """Answers it."""
        drift, resampled = bootstrap(compared(self.value, self.worsening), *self.columns)
        resampled = resampled[~np.isnan(resampled)]
        p_value, highest = None, ""
        verdict: Verdict = "unclear"
        if len(resampled):
            # The run itself counts as one of the resamples, so that no p-value is 0.
            p_value = (1 + np.count_nonzero(resampled <= self.limit)) / (1 + len(resampled))
            most = float(np.quantile(resampled, confidence, method="higher"))  # an infinite one stays infinite
            highest = self.shown_drift(most)
            if p_value <= 1 - confidence and drift > self.limit:
                verdict = "drifted"
            elif most <= self.limit:
                verdict = "ok"
        half = len(self.columns) // 2
        return Check(
            task,
            label,
            self.figure,
            base=self.shown(float(self.value(*self.columns[half:], axis=-1))),
            new=self.shown(float(self.value(*self.columns[:half], axis=-1))),
            drift=self.shown_drift(drift),
            highest=highest,
            limit=self.shown_drift(self.limit),
            p_value=p_value,
            verdict=verdict,
        )


def _questions(paired: Paired, primary: str | None, limits: Limits) -> Iterator[_Question]:
    if limits.max_perplexity_increase is not None:
        limit = limits.max_perplexity_increase
        yield _Question("perplexity", paired.likelihoods, perplexity, _increase, limit, _number, _percent)
    if limits.max_excess_perplexity_increase is not None:
        limit = limits.max_excess_perplexity_increase
        yield _Question("perplexity - 1", paired.likelihoods, _excess, _increase, limit, _number, _percent)
    if limits.min_accuracy_delta is not None and primary in paired.new.scores and primary in paired.base.scores:
        limit = -limits.min_accuracy_delta / 100
        yield _Question(primary.replace("_", " "), paired.score(primary), ratio, _fall, limit, _percent, _points)
    yield _Question("failed answers", paired.failures, ratio, np.subtract, 0.0, _percent, _points)
    if limits.max_block_efficiency_loss is not None:
        columns, limit = paired.counts("completion_tokens", "num_target_passes"), limits.max_block_efficiency_loss
        yield _Question("block efficiency", columns, ratio, _loss, limit, _number, _percent)
    if limits.max_slowdown is not None:
        yield _Question("tokens/s", paired.speeds, ratio, _loss, limits.max_slowdown, _number, _percent)


def _relative_speed(paired: Paired, reference: Paired, limits: Limits) -> Iterator[_Question]:
    """Speed over the speed of the baseline in the same run, where both were measured in turns."""
    if limits.max_relative_slowdown is not None:
        columns, limit = paired.relative_speeds(reference), limits.max_relative_slowdown
        yield _Question("tokens/s over baseline's", columns, _rates, _loss, limit, _number, _percent)


def _increase(new: Floats, base: Floats) -> Floats:
    return new / base - 1


def _loss(new: Floats, base: Floats) -> Floats:
    return 1 - new / base


def _fall(new: Floats, base: Floats) -> Floats:
    return base - new


def _rates(part: Floats, whole: Floats, base_part: Floats, base_whole: Floats, axis: int) -> Floats:
    found: Floats = ratio(part, whole, axis) / ratio(base_part, base_whole, axis)
    return found


def _excess(part: Floats, whole: Floats, axis: int) -> Floats:
    return perplexity(part, whole, axis) - 1


def _number(value: float) -> str:
    return f"{value:.4g}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _points(value: float) -> str:
    return f"{100 * value:.1f} pt"


def _machines(base: Run, new: Run) -> Iterator[str]:
    """What makes speeds incomparable."""
    for name in ("machine", "processors"):
        if base.environment.get(name) != new.environment.get(name):
            yield _differs(name, base.environment.get(name), new.environment.get(name), "speed is not compared")
    for name in ("concurrency", "threads"):
        if getattr(base.experiment, name) != getattr(new.experiment, name):
            was, now = getattr(base.experiment, name), getattr(new.experiment, name)
            yield _differs(name, was, now, "speed is not compared")


def _models(base: Run, new: Run) -> Iterator[str]:
    for name in ("target", "target_digest", "target_dtype", "draft", "tandem"):
        if base.environment.get(name) != new.environment.get(name):
            yield _differs(name, base.environment.get(name), new.environment.get(name))


def _settings(base: Run, new: Run) -> Iterator[str]:
    before, after = base.experiment.labelled(), new.experiment.labelled()
    for label in before.keys() & after.keys():
        for name, was in before[label]:
            if getattr(after[label], name) != was:
                yield _differs(f"{label}: {name}", was, getattr(after[label], name))


def _differs(what: str, was: object, now: object, therefore: str = "") -> str:
    return f"{what} was {was}, is {now}" + (f": {therefore}" if therefore else "")


def _names(found: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{label} on {task}" for task, label in found)
