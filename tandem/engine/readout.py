"""From logits on the device to the few numbers that drafting and judging look at, in as few copies as possible."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from tandem.decoding.warp import Candidates
from tandem.errors import InvalidArgument

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def top_candidates(logits: torch.Tensor, width: int) -> Candidates:
    """The `width` highest logits of each row.

    Equal logits, which are frequent in bfloat16, are settled by the lowest id, also at the cut-off: the selection is
    the same on every device and in every batch.

    Args: `logits` `[rows, vocab]` of any floating type, all finite or -inf.
    Raises: InvalidArgument unless 1 <= width <= vocab.
    """
    vocab_size = logits.shape[1]
    if not 1 <= width <= vocab_size:
        raise InvalidArgument(f"{width} candidates were asked for; expected 1 to {vocab_size}, the vocabulary")
    if width == vocab_size:
        top = _stable_top(logits, width)
        is_tied = torch.zeros(len(logits), 1, dtype=torch.float64, device=logits.device)
    else:
        # One more than asked for, to see whether the choice at the cut-off was between equals.
        values, ids = torch.topk(logits, width + 1, dim=-1)
        is_tied = (values[:, width:] == values[:, width - 1 : width]).double()
        top = torch.cat((values[:, :width].double(), ids[:, :width].double()), dim=1)
    log_normaliser = torch.logsumexp(logits.float(), dim=-1, keepdim=True).double()
    # Ids are exact in float64, so that everything travels in one copy.
    host = torch.cat((top, log_normaliser, is_tied), dim=1).cpu().numpy()
    tied = np.flatnonzero(host[:, -1])
    if len(tied):
        host[tied, : 2 * width] = _stable_top(logits[torch.from_numpy(tied).to(logits.device)], width).cpu().numpy()
    found, found_ids = host[:, :width], host[:, width : 2 * width].astype(np.int64)
    order = np.lexsort((found_ids, -found), axis=-1)
    return Candidates(
        ids=np.take_along_axis(found_ids, order, axis=-1),
        logits=np.take_along_axis(found, order, axis=-1),
        log_normaliser=host[:, 2 * width].copy(),
    )


def log_probs_of(logits: torch.Tensor, log_normaliser: Floats, rows: Ints, ids: Ints) -> Floats:
    """Log-probability of token `ids[i]` in row `rows[i]`, `[pairs]`, under the unwarped distribution.

    Args: `logits` `[rows, vocab]` and `log_normaliser` `[rows]` as `top_candidates` gives it.
    """
    device = logits.device
    chosen = logits[torch.from_numpy(rows).to(device), torch.from_numpy(ids).to(device)]
    values: Floats = chosen.double().cpu().numpy()
    return values - log_normaliser[rows]


def _stable_top(logits: torch.Tensor, width: int) -> torch.Tensor:
    """Values, then ids, `[rows, 2 * width]`, of the `width` highest logits, the lowest ids among equals."""
    values, ids = torch.sort(logits, dim=-1, descending=True, stable=True)
    return torch.cat((values[:, :width].double(), ids[:, :width].double()), dim=1)
