"""Two sets of answers to the same samples, side by side: what differences are computed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tandem.evaluation.columns import Blocks, Columns
from tandem.evaluation.records import Record
from tandem.evaluation.statistics import Floats, Statistic

Four = tuple[Floats, Floats, Floats, Floats]
"""A column and the one it is a share of; then the same of the base: each [samples], rows alike."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Columns of the samples (and, for speed, of the blocks) that both sides have."""

    new: Columns
    base: Columns
    new_blocks: Blocks
    base_blocks: Blocks

    @classmethod
    def of(cls, records: Sequence[Record], base: Sequence[Record]) -> Paired:
        """Pairs the records of one configuration with those of another, or of another run."""
        new_columns, base_columns = Columns.of(records), Columns.of(base)
        mine, theirs = _shared(new_columns.samples, base_columns.samples)
        new_blocks, base_blocks = Blocks.of(records), Blocks.of(base)
        my_blocks, their_blocks = _shared(new_blocks.keys, base_blocks.keys)
        return cls(
            new_columns.take(mine),
            base_columns.take(theirs),
            new_blocks.take(my_blocks),
            base_blocks.take(their_blocks),
        )

    def counts(self, part: str, whole: str) -> Four:
        """Two of `columns.COUNTS`."""
        return self.new.counts[part], self.new.counts[whole], self.base.counts[part], self.base.counts[whole]

    @property
    def likelihoods(self) -> Four:
        """Negative log-likelihoods and the number of tokens they are of."""
        return self.counts("output_negative_log_likelihood", "completion_tokens")

    def score(self, name: str) -> Four:
        """Sums of a score and the number of answers they are of."""
        return self.new.scores[name], self.new.scored[name], self.base.scores[name], self.base.scored[name]

    @property
    def failures(self) -> Four:
        """Samples without an answer, of those asked."""
        new, base = self.new, self.base
        return new.asked - new.answered, new.asked, base.asked - base.answered, base.asked

    @property
    def speeds(self) -> Four:
        """Tokens and the seconds they took, by block."""
        new, base = self.new_blocks, self.base_blocks
        return new.num_tokens, new.seconds, base.num_tokens, base.seconds

    def relative_speeds(self, reference: Paired) -> tuple[Floats, ...]:
        """`speeds` of each side followed by those of ``reference`` on the same side, by blocks that all four have."""
        sides = (self.new_blocks, reference.new_blocks, self.base_blocks, reference.base_blocks)
        keys = [key for key in sides[0].keys if all(key in side.keys for side in sides)]
        taken = [side.take([side.keys.index(key) for key in keys]) for side in sides]
        return tuple(column for side in taken for column in (side.num_tokens, side.seconds))

    @property
    def same_answers(self) -> float:
        """Share of the answers that are alike to the letter."""
        both = self.new.texts.keys() & self.base.texts.keys()
        return sum(self.new.texts[key] == self.base.texts[key] for key in both) / len(both) if both else 0.0


def compared(value: Statistic, difference: Callable[[Floats, Floats], Floats]) -> Statistic:
    """The difference between a value of the new side and of the base: of the new side's columns, then the base's."""

    def statistic(*columns: Floats, axis: int = -1) -> Floats:
        half = len(columns) // 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return difference(value(*columns[:half], axis=axis), value(*columns[half:], axis=axis))

    return statistic


def _shared(keys: Sequence[object], others: Sequence[object]) -> tuple[list[int], list[int]]:
    """Rows of what both have, in both."""
    rows = {key: row for row, key in enumerate(others)}
    pairs = [(row, rows[key]) for row, key in enumerate(keys) if key in rows]
    return [mine for mine, _ in pairs], [theirs for _, theirs in pairs]
