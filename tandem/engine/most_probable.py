"""The model's own most probable tokens, beside the candidates that are drawn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tandem.decoding.most_probable import MostProbable
from tandem.decoding.warp import Candidates
from tandem.engine.adjusting import Deltas
from tandem.engine.masking import Mask
from tandem.engine.readout import Select, highest, top_candidates


def candidates_with_top(
    logits: torch.Tensor, width: int, deltas: Deltas | None, mask: Mask | None, num_top: int, select: Select = highest
) -> Candidates:
    """`top_candidates`, and the `num_top` most probable tokens of each row before `deltas` and `mask`.

    Args: `logits` `[rows, vocab]`. A vocabulary of fewer than `num_top` tokens is told whole.
    """
    num_top = min(num_top, logits.shape[1])
    if deltas is not None or mask is not None:
        found = top_candidates(logits, width, deltas, mask, select)
        return replace(found, top=most_probable(top_candidates(logits, num_top, select=select)))
    found = top_candidates(logits, max(width, num_top), select=select)
    top = most_probable(found)
    return replace(
        found,
        ids=found.ids[:, :width],
        logits=found.logits[:, :width],
        top=MostProbable(top.ids[:, :num_top], top.log_probs[:, :num_top]),
    )


def most_probable(found: Candidates) -> MostProbable:
    """Candidates that nothing was added to, as log-probabilities."""
    with np.errstate(invalid="ignore"):  # rows whose logits are not finite are found, and failed, by their normaliser
        return MostProbable(found.ids, found.logits - found.log_normaliser[:, None])
