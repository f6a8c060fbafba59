"""The highest logits of each row by one operator, for the few that are wanted."""

from __future__ import annotations

import numpy as np
import torch

from tandem.engine import readout
from tandem.engine.readout import Floats, Ints

WIDEST = 256
"""Above which sorting as a whole is faster than keeping the best so far in order."""


def highest(ranked: torch.Tensor, logits: torch.Tensor, width: int) -> tuple[Floats, Ints, Floats]:
    """As `tandem.engine.readout.highest`. `load_native` has been called."""
    if width > WIDEST:
        return readout.highest(ranked, logits, width)
    found: Floats = torch.ops.tandem.highest(ranked, logits, width).numpy()
    return found[:, :width], found[:, width:-1].astype(np.int64), found[:, -1]
