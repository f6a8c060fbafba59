"""One configuration's records on one task as columns, a row a sample: what all figures are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tandem.evaluation.records import Record
from tandem.evaluation.statistics import Floats

COUNTS = (
    "completion_tokens",
    "output_negative_log_likelihood",
    "num_target_passes",
    "num_spec_steps",
    "num_accepted_draft_tokens",
    "num_draft_tokens",
)
"""Fields of :class:`tandem.generation.Usage` that are summed over a sample's turns and repetitions."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Sums over turns and repetitions; each column [samples], in the order of ``samples``."""

    samples: tuple[str, ...]
    counts: dict[str, Floats]
    """By name of `COUNTS`."""
    mean_log_likelihoods: Floats
    """Mean over repetitions of the mean negative log-likelihood of an answer; not a number without one."""
    asked: Floats
    """Repetitions."""
    answered: Floats
    """Repetitions with an answer."""
    scores: dict[str, Floats]
    """Sums by name."""
    scored: dict[str, Floats]
    """Repetitions that have a score, by name."""
    texts: dict[tuple[str, int], tuple[str, ...]]
    """Answers by (sample, repetition)."""

    @classmethod
    def of(cls, records: Sequence[Record]) -> Columns:
        """Columns of the records of one task and configuration."""
        samples = tuple(dict.fromkeys(record.sample for record in records))
        rows = {sample: row for row, sample in enumerate(samples)}
        names = tuple(dict.fromkeys(name for record in records for name in record.scores))
        counts = {name: np.zeros(len(samples)) for name in COUNTS}
        mean, asked, answered = (np.zeros(len(samples)) for _ in range(3))
        scores = {name: np.zeros(len(samples)) for name in names}
        scored = {name: np.zeros(len(samples)) for name in names}
        texts: dict[tuple[str, int], tuple[str, ...]] = {}
        for record in records:
            row = rows[record.sample]
            asked[row] += 1
            for name, score in record.scores.items():
                scores[name][row] += score
                scored[name][row] += 1
            if record.error:
                continue
            texts[record.sample, record.repetition] = tuple(turn.text for turn in record.turns)
            answered[row] += 1
            for name, column in counts.items():
                column[row] += sum(turn.usage[name] for turn in record.turns)
            num_tokens = sum(turn.usage["completion_tokens"] for turn in record.turns)
            nll = sum(turn.usage["output_negative_log_likelihood"] for turn in record.turns)
            mean[row] += nll / num_tokens if num_tokens else 0.0
        with np.errstate(invalid="ignore"):
            return cls(samples, counts, mean / answered, asked, answered, scores, scored, texts)

    def take(self, rows: Sequence[int]) -> Columns:
        """Some of the samples, in the order given."""
        chosen = {self.samples[row] for row in rows}
        return Columns(
            tuple(self.samples[row] for row in rows),
            {name: column[rows] for name, column in self.counts.items()},
            self.mean_log_likelihoods[rows],
            self.asked[rows],
            self.answered[rows],
            {name: column[rows] for name, column in self.scores.items()},
            {name: column[rows] for name, column in self.scored.items()},
            {key: text for key, text in self.texts.items() if key[0] in chosen},
        )


@dataclass(frozen=True, slots=True)
class Blocks:
    """Speed is measured over blocks, which configurations run in turn; each column [blocks]."""

    keys: tuple[tuple[int, int], ...]
    """(repetition, block)."""
    num_tokens: Floats
    seconds: Floats

    def take(self, rows: Sequence[int]) -> Blocks:
        """Some of the blocks, in the order given."""
        return Blocks(tuple(self.keys[row] for row in rows), self.num_tokens[rows], self.seconds[rows])

    @classmethod
    def of(cls, records: Iterable[Record]) -> Blocks:
        """Blocks of one task and configuration; those with traced samples only where there are no others."""
        num_tokens: dict[tuple[int, int], int] = {}
        seconds: dict[tuple[int, int], set[float]] = {}  # several where a run was resumed in the middle of a block
        traced: set[tuple[int, int]] = set()
        for record in records:
            key = (record.repetition, record.block)
            num_tokens[key] = num_tokens.get(key, 0) + sum(turn.usage["completion_tokens"] for turn in record.turns)
            seconds.setdefault(key, set()).add(record.block_seconds)
            if any(turn.rounds for turn in record.turns):
                traced.add(key)
        keys = tuple(key for key in num_tokens if key not in traced) or tuple(num_tokens)
        return cls(
            keys,
            *(
                np.array(column, np.float64)
                for column in ([num_tokens[key] for key in keys], [sum(seconds[key]) for key in keys])
            ),
        )
