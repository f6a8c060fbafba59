"""Figures with their uncertainty: bootstrap over samples, and permutation tests between paired answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Statistic = Callable[..., Floats]
"""From columns [..., samples], each resampled alike, to [...]; must take ``axis``."""

NUM_RESAMPLES = 4999
_BATCH_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval: the bounds are None where there is too little to tell."""

    value: float
    low: float | None = None
    high: float | None = None


def bootstrap(statistic: Statistic, *columns: Floats) -> tuple[float, Floats]:
    """A statistic of paired columns [samples], and what it is on resampled samples, [resamples] (none for one sample).

    The resamples are the same at every call with as many samples, so figures of one run vary together.
    """
    value = float(statistic(*columns, axis=-1))
    count = len(columns[0])
    if count < 2:
        return value, np.empty(0)
    with warnings.catch_warnings():  # of samples that are all alike: their interval is a point, as it should be
        warnings.simplefilter("ignore")
        result = stats.bootstrap(
            columns,
            statistic,
            paired=True,
            vectorized=True,
            axis=-1,
            n_resamples=NUM_RESAMPLES,
            batch=max(1, _BATCH_CELLS // count),
            method="percentile",
            rng=np.random.default_rng(0),
        )
    found: Floats = result.bootstrap_distribution
    return value, found


def estimate(statistic: Statistic, *columns: Floats, confidence: float = 0.95) -> Estimate:
    """A statistic of paired columns [samples] with its percentile bootstrap interval."""
    value, resampled = bootstrap(statistic, *columns)
    resampled = resampled[np.isfinite(resampled)]
    if not len(resampled):
        return Estimate(value)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def paired_p_value(differences: Floats) -> float:
    """Two-sided p-value that paired differences [samples] have mean zero: their signs are permuted.

    1 where at most one difference is not zero.
    """
    differences = differences[differences != 0]
    if len(differences) < 2:
        return 1.0
    result = stats.permutation_test(
        (differences,),
        lambda values, axis: np.mean(values, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, _BATCH_CELLS // len(differences)),
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def ratio(part: Floats, whole: Floats, axis: int = -1) -> Floats:
    """Sum of one column over the sum of another; not a number where that is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.sum(part, axis=axis) / np.sum(whole, axis=axis)
    return found


def perplexity(negative_log_likelihood: Floats, num_tokens: Floats, axis: int = -1) -> Floats:
    """exp of the mean negative log-likelihood, weighted by token."""
    found: Floats = np.exp(ratio(negative_log_likelihood, num_tokens, axis))
    return found
