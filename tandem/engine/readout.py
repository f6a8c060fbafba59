"""From logits on the device to the few numbers that drafting and judging look at, in as few copies as possible."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from tandem.decoding.warp import Candidates
from tandem.engine.adjusting import Deltas
from tandem.engine.masking import Mask
from tandem.errors import InvalidArgument

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def highest(ranked: torch.Tensor, logits: torch.Tensor, width: int) -> tuple[Floats, Ints, Floats]:
    """The `width` highest of each row of `ranked`, and what normalises each row of `logits`.

    Args: `ranked` `[rows, vocab]`, `logits` likewise, or the same.
    Returns: the highest, falling, and their ids, `[rows, width]` each, equal ones by rising id; the logarithm of the
    sum of the exponentials, `[rows]`.
    """
    vocab_size = logits.shape[1]
    # One more than asked for, where there is one, to see whether the choice at the cut-off was between equals.
    values, ids = torch.topk(ranked, min(width + 1, vocab_size), dim=-1)
    log_normaliser = torch.logsumexp(logits.float(), dim=-1, keepdim=True)
    # Ids are exact in float64, so that everything travels in one copy.
    host = torch.cat((values.double(), ids.double(), log_normaliser.double()), dim=1).cpu().numpy()
    top, top_ids = host[:, :width], host[:, values.shape[1] : values.shape[1] + width].astype(np.int64)
    if width < vocab_size:
        ties = host[:, width - 1] == host[:, width]
        if ranked is not logits:  # what is forbidden is nobody's candidate: which of it fills a row up means nothing
            ties &= host[:, width] > -np.inf
        tied = np.flatnonzero(ties)
        if len(tied):
            at = torch.from_numpy(tied).to(logits.device)
            _take_lowest_ids(ranked[at] == values[at, width - 1 : width], tied, top, top_ids)
    if (top[:, 1:] == top[:, :-1]).any():
        order = np.lexsort((top_ids, -top), axis=-1)
        top_ids = np.take_along_axis(top_ids, order, axis=-1)  # the values are in order as they are
    return top.copy(), top_ids, host[:, -1].copy()


Select = Callable[[torch.Tensor, torch.Tensor, int], tuple[Floats, Ints, Floats]]
"""`highest`, or what does the same."""


def top_candidates(
    logits: torch.Tensor,
    width: int,
    deltas: Deltas | None = None,
    mask: Mask | None = None,
    select: Select = highest,
) -> Candidates:
    """The `width` highest logits of each row, once `deltas` are added and what `mask` forbids has become -inf.

    Equal logits, which are frequent in bfloat16, are settled by the lowest id, also at the cut-off: the selection is
    the same on every device and in every batch.

    Args: `logits` `[rows, vocab]` of any floating type, all finite or -inf.
    Raises: InvalidArgument unless 1 <= width <= vocab.
    """
    vocab_size = logits.shape[1]
    if not 1 <= width <= vocab_size:
        raise InvalidArgument(f"{width} candidates were asked for; expected 1 to {vocab_size}, the vocabulary")
    ranked = logits if deltas is None else deltas.added_to(logits)
    ranked = ranked if mask is None else mask.applied_to(ranked)
    top, top_ids, log_normaliser = select(ranked, logits, width)
    unadjusted = None if ranked is logits else _gathered(logits, top_ids)
    return Candidates(top_ids, top, log_normaliser, unadjusted)


def _gathered(logits: torch.Tensor, ids: Ints) -> Floats:
    """The logits of some tokens of each row, `[rows, width]`."""
    values: Floats = logits.gather(1, torch.from_numpy(ids).to(logits.device)).double().cpu().numpy()
    return values


def _take_lowest_ids(at_cut: torch.Tensor, rows: Ints, top: Floats, top_ids: Ints) -> None:
    """Let the tokens that tie at the cut-off be those of the lowest ids.

    Args: `at_cut` `[tied, vocab]`, which tokens of row `rows[i]` equal its last candidate; `top`, falling, and
    `top_ids`, which is corrected, `[rows, width]`.
    """
    tied, ids = at_cut.nonzero().cpu().numpy().T  # by row, then by id
    num_above = (top[rows] > top[rows, -1:]).sum(axis=1)  # [tied], the candidates that are not in question
    rank = np.arange(len(tied)) - np.searchsorted(tied, tied)
    column = num_above[tied] + rank
    taken = column < top.shape[1]
    top_ids[rows[tied[taken]], column[taken]] = ids[taken]


def log_probs_of(logits: torch.Tensor, log_normaliser: Floats, rows: Ints, ids: Ints) -> Floats:
    """Log-probability of token `ids[i]` in row `rows[i]`, `[pairs]`, under the unwarped distribution.

    Args: `logits` `[rows, vocab]` and `log_normaliser` `[rows]` as `top_candidates` gives it.
    """
    device = logits.device
    chosen = logits[torch.from_numpy(rows).to(device), torch.from_numpy(ids).to(device)]
    values: Floats = chosen.double().cpu().numpy()
    return values - log_normaliser[rows]
