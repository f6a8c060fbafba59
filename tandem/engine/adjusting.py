"""The adjustments of all rows of a pass, added to their logits on the device in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tandem.decoding.values import Floats
from tandem.engine.tree_model import Row


@dataclass(frozen=True, slots=True)
class Deltas:
    """What is added to single logits of a pass; no logit is named twice."""

    entries: Floats
    """[3, n]: which row of the logits, which token, how much. Ids are exact in float64, so that all travel together."""

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Deltas | None:
        """Of all logits that ``rows`` ask for, in row order; None where none is adjusted."""
        if all(row.adjustment is None for row in rows):
            return None
        parts, first = list[Floats](), 0
        for row in rows:
            num_places = len(row.logits_at)
            if row.adjustment is not None:
                ids, deltas = row.adjustment.token_ids, row.adjustment.deltas
                places = np.repeat(np.arange(first, first + num_places), len(ids))
                parts.append(np.stack((places, np.tile(ids, num_places), deltas.ravel())))
            first += num_places
        return cls(np.concatenate(parts, axis=1))

    def added_to(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` `[rows, vocab]` with these added, in float32: a bfloat16 has no room for a small penalty.

        Each sum is taken exactly and rounded once, so that a count gives the same logit wherever it is reached.
        """
        entries = torch.from_numpy(self.entries).to(logits.device)
        at = (entries[0].long(), entries[1].long())
        return logits.float().index_put(at, (logits[at].double() + entries[2]).float())
