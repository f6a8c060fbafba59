"""Warping: from a model's logits, once penalties and bias have adjusted them, to what is drawn from and judged by.

Order: temperature, then top-k, then top-p on what top-k left (keeping the token that crosses it), then min-p, then
renormalisation. Only the highest logits of a row are needed, which is why nothing here is as wide as the vocabulary
unless top-k is off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from tandem.decoding.most_probable import MostProbable
from tandem.decoding.values import MAX_SUPPORT, Floats, Ids, Sampling

_LEAST_WEIGHT = math.ulp(0.0)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The highest logits of some rows, adjusted where a request asks for that: falling, exact ties by rising id."""

    ids: Ids  # [rows, width]
    logits: Floats  # [rows, width]
    log_normaliser: Floats  # [rows], logsumexp over the whole vocabulary of the logits as the model gives them
    unadjusted: Floats | None = None
    """The same tokens' logits as the model gives them, [rows, width]; None where no row is adjusted."""
    top: MostProbable | None = None
    """The model's own most probable tokens of each row, whatever it is adjusted by; None where not asked for."""

    @property
    def model_logits(self) -> Floats:
        """As the model gives them, [rows, width]."""
        return self.logits if self.unadjusted is None else self.unadjusted

    def log_prob(self, rows: Ids, token_ids: Ids) -> Floats:
        """The model's own log-probability of token i in row i of ``rows``, [n]: neither adjusted nor warped.

        -inf for a token that is not a candidate.
        """
        found = self.ids[rows] == token_ids[:, None]
        logits: Floats = np.where(found, self.model_logits[rows], -np.inf).max(axis=1, initial=-np.inf)
        return logits - self.log_normaliser[rows]


@dataclass(frozen=True, slots=True)
class Support:
    """Distributions cut to where they are positive, one a row, sorted by falling probability, ties to the lowest id."""

    ids: Ids  # [rows, width]
    log_probs: Floats  # [rows, width], normalised over the row, -inf where the row's support is narrower
    sizes: Ids  # [rows], how many columns of each row are its support

    def log_prob(self, rows: Ids, token_ids: Ids) -> Floats:
        """Log-probability of token i in row i of ``rows``, -inf outside the support, [n]."""
        found = self.ids[rows] == token_ids[:, None]
        log_probs: Floats = np.where(found, self.log_probs[rows], -np.inf).max(axis=1, initial=-np.inf)
        return log_probs

    def part(self, start: int, stop: int) -> Support:
        """Rows ``start`` to ``stop``, as views."""
        return Support(self.ids[start:stop], self.log_probs[start:stop], self.sizes[start:stop])


@dataclass(frozen=True, slots=True)
class Warps:
    """One warp a row, with "off" a value like any other."""

    table: Floats  # [rows, 4]
    """Temperature (1 where greedy: the top-k of 1 does all), top-k, top-p, and the least weight that is kept, the
    highest being 1; positive."""
    width: int
    """How many of the highest logits of a row suffice for all these warps."""
    even: bool
    """Whether all rows need as many."""

    @classmethod
    def of(cls, samplings: Iterable[Sampling], vocab_size: int) -> Warps:
        """One row each."""
        table: list[tuple[float, int, float, float]] = []
        for sampling in samplings:
            temperature, top_k = sampling.temperature, min(sampling.top_k or vocab_size, vocab_size)
            if temperature == 0:
                temperature, top_k = 1.0, 1
            # Exactly 1 is off: the running sum of thousands of probabilities may pass 1 before its end.
            top_p = sampling.top_p if sampling.top_p < 1 else math.inf
            table.append((temperature, top_k, top_p, max(sampling.min_p, _LEAST_WEIGHT)))
        widths = [row[1] for row in table]
        return cls(np.array(table), max(widths), min(widths) == max(widths))

    def take(self, rows: Ids) -> Warps:
        """Some of the rows, in the order given."""
        return Warps(self.table[rows], self.width, self.even)


def unsharpened(sampling: Sampling) -> Sampling:
    """What the joint rules read: the plain softmax at temperature 0, where a one-hot target leaves nothing to judge."""
    if sampling.temperature > 0:
        return sampling
    return replace(sampling, temperature=1.0)


def drafted(sampling: Sampling) -> Sampling:
    """What a draft model reads: never more than its 64 most probable tokens, so that its support can travel."""
    return replace(sampling, top_k=min(sampling.top_k or MAX_SUPPORT, MAX_SUPPORT))


def warp(candidates: Candidates, warps: Warps) -> Support:
    """Warps rows of logits.

    Args:
        candidates: [rows, width], ``warps.width`` wide
        warps: [rows]

    Returns:
        [rows, width'] with width' the widest support among the rows; columns are those of the candidates.
    """
    ids, logits = candidates.ids, candidates.logits
    # Rows whose logits are not finite come out as rows without support; callers find them by their normaliser.
    temperature, top_k, top_p, floor = (warps.table[:, column : column + 1] for column in range(4))
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = logits - logits[:, :1]
        scaled /= temperature
        weights = np.exp(scaled)
        if not warps.even:
            weights[np.arange(logits.shape[1]) >= top_k] = 0.0
        # Running sums, not sums: padding columns then change no bit, so a row is the same in any batch.
        running = weights.cumsum(axis=1)
        kept = weights >= floor
        kept[:, 1:] &= running[:, :-1] < top_p * running[:, -1:]
        sizes = kept.sum(axis=1)  # what is kept stands first
        width = max(1, *sizes.tolist())
        scaled -= np.log(running[np.arange(len(sizes)), sizes - 1])[:, None]
        scaled[~kept] = -np.inf
    return Support(ids[:, :width], scaled[:, :width], sizes)
