"""What the rows of a pass do not allow, taken out of their logits on the device in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tandem.decoding.values import Ids
from tandem.engine.tree_model import Row
from tandem.matching import Bitmask


@dataclass(frozen=True, slots=True)
class Mask:
    """Which tokens may be chosen in some rows of a pass's logits; in all others, every one may."""

    rows: Ids  # [n], rising
    allowed: Bitmask  # [n, bytes]; a token past its end may not be chosen

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Mask | None:
        """Of all logits that ``rows`` ask for, in row order; None where nothing is forbidden."""
        if all(row.allowed is None for row in rows):
            return None
        places, allowed, first = list[Ids](), list[Bitmask](), 0
        for row in rows:
            if row.allowed is not None:
                places.append(np.arange(first, first + len(row.logits_at)))
                allowed.append(row.allowed)
            first += len(row.logits_at)
        width = max(part.shape[1] for part in allowed)
        padded = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in allowed]
        return cls(np.concatenate(places), np.concatenate(padded))

    def applied_to(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` `[rows, vocab]` with -inf wherever a token may not be chosen; a copy."""
        rows = torch.from_numpy(self.rows).to(logits.device)
        bits = torch.from_numpy(self.allowed).to(logits.device)[:, :, None] >> torch.arange(8, device=logits.device)
        forbidden = (bits & 1).flatten(1) == 0
        num_missing = logits.shape[1] - forbidden.shape[1]
        if num_missing > 0:  # logits may be wider than the vocabulary, and padding is never a token
            forbidden = torch.nn.functional.pad(forbidden, (0, num_missing), value=True)
        masked = logits[rows].masked_fill_(forbidden[:, : logits.shape[1]], -torch.inf)
        return logits.index_copy(0, rows, masked)
