"""From logits on the device to how probable given tokens were: a few numbers a place, never a vocabulary's worth."""

from __future__ import annotations

import numpy as np
import torch

from tandem.decoding.most_probable import MostProbable
from tandem.decoding.scored import Scored
from tandem.decoding.values import Ids
from tandem.engine.most_probable import most_probable
from tandem.engine.readout import top_candidates

_ROWS_AT_ONCE = 64
"""Rows whose logits stand in float32 at one time: with a vocabulary of 256k, 64 MiB."""


def scores_of(logits: torch.Tensor, token_ids: Ids, num_top: int) -> Scored:
    """Of token `token_ids[i]` in row i of `logits` `[rows, vocab]`, with the `num_top` most probable beside it."""
    parts = [
        _scores(logits[start : start + _ROWS_AT_ONCE], token_ids[start : start + _ROWS_AT_ONCE], num_top)
        for start in range(0, max(1, len(token_ids)), _ROWS_AT_ONCE)
    ]
    tops = [part.top for part in parts if part.top is not None]
    return Scored(
        np.concatenate([part.log_probs for part in parts]),
        np.concatenate([part.ranks for part in parts]),
        np.concatenate([part.finite for part in parts]),
        MostProbable(np.concatenate([top.ids for top in tops]), np.concatenate([top.log_probs for top in tops]))
        if num_top
        else None,
    )


def _scores(logits: torch.Tensor, token_ids: Ids, num_top: int) -> Scored:
    ids = torch.from_numpy(token_ids).to(logits.device)[:, None]
    chosen = logits.gather(1, ids)
    before = torch.arange(logits.shape[1], device=logits.device) < ids
    ranks = 1 + ((logits > chosen) | ((logits == chosen) & before)).sum(dim=1, keepdim=True)
    log_normaliser = torch.logsumexp(logits.float(), dim=1, keepdim=True)
    # Ranks are exact in float64, so that everything travels in one copy.
    host = torch.cat((chosen.double(), ranks.double(), log_normaliser.double()), dim=1).cpu().numpy()
    with np.errstate(invalid="ignore"):
        log_probs = host[:, 0] - host[:, 2]
    top = most_probable(top_candidates(logits, min(num_top, logits.shape[1]))) if num_top else None
    return Scored(log_probs, host[:, 1].astype(np.int64), np.isfinite(host[:, 2]), top)
