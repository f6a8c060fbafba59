"""What the rows of a pass do not allow, taken out of their logits on the device in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

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
        device, width = logits.device, logits.shape[1]
        bits = torch.from_numpy(self.allowed[:, : -(-width // 8)]).to(device)
        # Adding is many times as fast as filling where a mask says so, and adding 0 changes nothing.
        added = _terms(logits.dtype, device).index_select(0, bits.flatten().int()).view(len(bits), -1)
        if added.shape[1] < width:  # logits may be wider than the vocabulary, and padding is never a token
            added = torch.nn.functional.pad(added, (0, width - added.shape[1]), value=-torch.inf)
        added = added[:, :width]
        if len(self.rows) == len(logits):
            return logits + added
        rows = torch.from_numpy(self.rows).to(device)
        return logits.index_copy(0, rows, logits[rows] + added)


@cache
def _terms(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """What each value of a mask's byte adds to the logits of its eight tokens: 0 or -inf, `[256, 8]`."""
    allowed = torch.arange(256)[:, None] >> torch.arange(8) & 1
    return torch.where(allowed == 1, 0.0, -torch.inf).to(device, dtype)
