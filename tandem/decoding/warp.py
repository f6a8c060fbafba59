"""Warping: from a model's logits to the distribution that is drawn from and judged by.

Order: temperature, then top-k, then top-p on what top-k left (keeping the token that crosses it), then min-p, then
renormalisation. Only the highest logits of a row are needed, which is why nothing here is as wide as the vocabulary
unless top-k is off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tandem.decoding.values import MAX_SUPPORT, Floats, Ids, Sampling


@dataclass(frozen=True, slots=True)
class Candidates:
    """The highest logits of some rows, as a model gives them: falling, exact ties by rising id."""

    ids: Ids  # [rows, width]
    logits: Floats  # [rows, width]
    log_normaliser: Floats  # [rows], logsumexp over the whole vocabulary

    def log_prob(self, rows: Ids, token_ids: Ids) -> Floats:
        """Unwarped log-probability of token i in row i of ``rows``, [n]; -inf for a token that is not a candidate."""
        found = self.ids[rows] == token_ids[:, None]
        logits: Floats = np.where(found, self.logits[rows], -np.inf).max(axis=1, initial=-np.inf)
        return logits - self.log_normaliser[rows]


@dataclass(frozen=True, slots=True)
class Support:
    """Distributions cut to where they are positive, one a row, sorted by falling probability, ties to the lowest id."""

    ids: Ids  # [rows, width]
    log_probs: Floats  # [rows, width], normalised over the row, -inf where the row's support is narrower

    def log_prob(self, rows: Ids, token_ids: Ids) -> Floats:
        """Log-probability of token i in row i of ``rows``, -inf outside the support, [n]."""
        found = self.ids[rows] == token_ids[:, None]
        log_probs: Floats = np.where(found, self.log_probs[rows], -np.inf).max(axis=1, initial=-np.inf)
        return log_probs

    def part(self, start: int, stop: int) -> Support:
        """Rows ``start`` to ``stop``, as views."""
        return Support(self.ids[start:stop], self.log_probs[start:stop])


@dataclass(frozen=True, slots=True)
class Warps:
    """One warp a row, as arrays [rows]; temperature 0 keeps the most probable token alone."""

    temperature: Floats
    top_k: Ids
    top_p: Floats
    min_p: Floats

    @classmethod
    def of(cls, samplings: Iterable[Sampling], counts: Sequence[int]) -> Warps:
        """The warp of ``samplings[i]``, ``counts[i]`` rows long, for each i in turn."""
        table = np.array([(s.temperature, s.top_k, s.top_p, s.min_p) for s in samplings]).reshape(-1, 4)
        temperature, top_k, top_p, min_p = np.repeat(table, counts, axis=0).T
        return cls(temperature, top_k.astype(np.int64), top_p, min_p)

    def width(self, vocab_size: int) -> int:
        """How many of the highest logits of a row suffice for all these warps."""
        widths = np.where(self.temperature == 0, 1, np.where(self.top_k == 0, vocab_size, self.top_k))
        return int(min(vocab_size, widths.max(initial=1)))


def unsharpened(sampling: Sampling) -> Sampling:
    """What the joint rules read: the plain softmax at temperature 0, where a one-hot target leaves nothing to judge."""
    if sampling.temperature > 0:
        return sampling
    return Sampling(1.0, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed)


def drafted(sampling: Sampling) -> Sampling:
    """What a draft model reads: never more than its 64 most probable tokens, so that its support can travel."""
    top_k = min(sampling.top_k or MAX_SUPPORT, MAX_SUPPORT)
    return Sampling(sampling.temperature, top_k, sampling.top_p, sampling.min_p, sampling.seed)


def warp(candidates: Candidates, warps: Warps) -> Support:
    """Warps rows of logits.

    Args:
        candidates: [rows, width], at least ``warps.width`` wide
        warps: [rows]

    Returns:
        [rows, width'] with width' the widest support among the rows; columns are those of the candidates.
    """
    ids, logits = candidates.ids, candidates.logits
    greedy = warps.temperature == 0
    # Rows whose logits are not finite come out as rows without support; callers find them by their normaliser.
    with np.errstate(invalid="ignore", divide="ignore"):
        return _warp(ids, logits, warps, greedy)


def _warp(ids: Ids, logits: Floats, warps: Warps, greedy: npt.NDArray[np.bool_]) -> Support:
    scaled = (logits - logits[:, :1]) / np.where(greedy, 1.0, warps.temperature)[:, None]
    columns = np.arange(logits.shape[1])
    top_k = np.where(greedy, 1, np.where(warps.top_k == 0, logits.shape[1], warps.top_k))
    weights = np.where(columns < top_k[:, None], np.exp(scaled), 0.0)
    probs = weights / weights.sum(axis=1, keepdims=True)
    before = np.cumsum(probs, axis=1) - probs
    # The first token always stays, whatever rounding says of top-p.
    kept = (probs > 0) & ((before < warps.top_p[:, None]) | (columns == 0))
    # Exactly 1 is off: the running sum of thousands of probabilities may pass 1 before its end.
    kept |= (probs > 0) & (warps.top_p[:, None] >= 1)
    kept &= probs >= warps.min_p[:, None] * probs[:, :1]
    width = int(kept.sum(axis=1).max(initial=1))
    weights = np.where(kept, weights, 0.0)[:, :width]
    log_probs = np.where(kept[:, :width], scaled[:, :width] - np.log(weights.sum(axis=1, keepdims=True)), -np.inf)
    return Support(ids[:, :width], log_probs)
