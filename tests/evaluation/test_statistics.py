"""Intervals cover what they say, and tests reject as rarely as they say."""

from __future__ import annotations

import numpy as np
import pytest

from tandem.evaluation.statistics import Estimate, bootstrap, estimate, paired_p_value, perplexity, ratio


def test_a_ratio_is_weighted_and_its_interval_covers_the_truth() -> None:
    generator = np.random.default_rng(7)
    truth, covered, trials = 0.3, 0, 200
    for _ in range(trials):
        whole = generator.integers(1, 30, 80).astype(float)
        part = generator.binomial(whole.astype(int), truth).astype(float)
        found = estimate(ratio, part, whole)
        assert found.value == pytest.approx(part.sum() / whole.sum())
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert 0.89 <= covered / trials <= 0.99  # 95% asked for; four standard errors are 0.06


def test_the_perplexity_is_weighted_by_token() -> None:
    assert perplexity(np.array([2.0, 8.0]), np.array([4.0, 1.0])) == pytest.approx(np.exp(2.0))


def test_one_sample_has_no_interval_and_equal_ones_have_a_point() -> None:
    assert estimate(ratio, np.array([1.0]), np.array([2.0])) == Estimate(0.5)
    assert estimate(ratio, np.full(9, 1.0), np.full(9, 2.0)) == Estimate(0.5, 0.5, 0.5)
    assert np.isnan(estimate(ratio, np.empty(0), np.empty(0)).value)


def test_an_infinite_figure_stays_infinite() -> None:
    found = estimate(perplexity, np.array([np.inf, *[1.0] * 20]), np.full(21, 5.0))
    assert found.value == np.inf
    assert found.high == np.inf


def test_columns_are_resampled_together() -> None:
    column = np.random.default_rng(1).normal(size=50)
    _, resampled = bootstrap(lambda one, other, axis: np.sum(one - other, axis=axis), column, column)
    assert np.all(resampled == 0)


def test_the_paired_test_rejects_as_rarely_as_it_says_and_sees_what_is_there() -> None:
    generator = np.random.default_rng(3)
    rejected = sum(paired_p_value(generator.choice([-1.0, 0.0, 0.0, 1.0], 60)) <= 0.05 for _ in range(200))
    assert rejected <= 24  # 5% asked for; the binomial's 99.9th percentile
    assert paired_p_value(generator.choice([-1.0, 0.0, 1.0, 1.0, 1.0], 60)) < 0.01
    assert paired_p_value(np.zeros(5)) == paired_p_value(np.array([0.0, 1.0])) == 1.0
