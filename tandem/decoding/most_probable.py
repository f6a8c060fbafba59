"""The most probable tokens of some rows, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem.decoding.values import Floats, Ids, TopLogProbs


@dataclass(frozen=True, slots=True)
class MostProbable:
    """Under the model as it gives them, neither adjusted nor warped: falling, exact ties by rising id."""

    ids: Ids  # [rows, count]
    log_probs: Floats  # [rows, count], over the whole vocabulary

    def take(self, rows: Ids) -> MostProbable:
        """Some of the rows, in the order given."""
        return MostProbable(self.ids[rows], self.log_probs[rows])

    def at(self, rows: Sequence[int], count: int) -> tuple[TopLogProbs, ...]:
        """The first ``count`` of each of ``rows``; as many as there are where the vocabulary is smaller."""
        return tuple(
            tuple(zip(self.ids[row, :count].tolist(), self.log_probs[row, :count].tolist(), strict=True))
            for row in rows
        )
