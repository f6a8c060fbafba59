"""Warping against the same rules written as loops, and the corners where they are easily got wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.decoding.values import MAX_SUPPORT, Floats, Sampling
from tandem.decoding.warp import Candidates, Support, Warps, drafted, unsharpened, warp
from tests.support.enumeration import Distribution, plain_warp


def warped(table: Floats, samplings: list[Sampling]) -> Support:
    """``samplings[i]`` on row i of logits, as a model would hand them over."""
    warps = Warps.of(samplings, table.shape[1])
    order = np.argsort(-table, axis=1, kind="stable")[:, : warps.width]
    with np.errstate(invalid="ignore"):
        normaliser = np.logaddexp.reduce(table, axis=1)
    return warp(Candidates(order, np.take_along_axis(table, order, axis=1), normaliser), warps)


def row(support: Support, index: int = 0) -> Distribution:
    pairs = zip(support.ids[index].tolist(), np.exp(support.log_probs[index]).tolist(), strict=True)
    return {token: prob for token, prob in pairs if prob > 0}


def one(logits: list[float], **sampling: float) -> Distribution:
    off = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    return row(warped(np.array([logits]), [Sampling(**{**off, **sampling})]))  # type: ignore[arg-type]


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 3, 7, 100]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.6, 1.0]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SAMPLINGS, min_size=1, max_size=5), st.integers(0, 1000), st.booleans())
def test_every_row_of_a_batch_is_warped_as_if_alone(samplings: list[Sampling], seed: int, ties: bool) -> None:
    table = np.random.default_rng(seed).normal(0, 2, (len(samplings), 12))
    if ties:
        table = np.round(table)
    support = warped(table, samplings)
    for index, sampling in enumerate(samplings):
        expected = plain_warp(table[index].tolist(), sampling)
        assert row(support, index) == pytest.approx(expected, abs=1e-12)
        alone = warped(table[index : index + 1], [sampling])
        kept = len(expected)
        # To the bit: what stands beside a row, and how wide it makes the batch, changes nothing.
        assert support.ids[index, :kept].tolist() == alone.ids[0, :kept].tolist()
        assert support.log_probs[index, :kept].tolist() == alone.log_probs[0, :kept].tolist()
        assert (support.log_probs[index, kept:] == -np.inf).all()


def test_top_p_keeps_the_token_that_crosses_it_and_reads_what_top_k_left() -> None:
    logits = [math.log(prob) for prob in (0.4, 0.3, 0.2, 0.1)]
    assert set(one(logits, top_p=0.5)) == {0, 1}
    assert set(one(logits, top_p=0.7001)) == {0, 1, 2}
    # After top-k 2 the first token alone has 4/7, more than 0.55.
    assert set(one(logits, top_k=2, top_p=0.55)) == {0}
    assert one(logits, top_k=2) == pytest.approx({0: 4 / 7, 1: 3 / 7})


def test_top_p_reads_the_sharpened_distribution() -> None:
    logits = [math.log(prob) for prob in (0.4, 0.3, 0.2, 0.1)]
    assert set(one(logits, top_p=0.5, temperature=1.0)) == {0, 1}
    assert set(one(logits, top_p=0.5, temperature=0.5)) == {0}  # 0.16 of 0.3


def test_min_p_is_relative_to_the_most_probable_token() -> None:
    logits = [math.log(prob) for prob in (0.5, 0.3, 0.15, 0.05)]
    assert set(one(logits, min_p=0.31)) == {0, 1}
    assert set(one(logits, min_p=1.0)) == {0}


def test_ties_go_to_the_lowest_id() -> None:
    assert set(one([1.0, 2.0, 2.0, 2.0], top_k=2)) == {1, 2}
    assert one([1.0, 2.0, 2.0, 2.0], temperature=0) == {1: 1.0}
    assert list(row(warped(np.zeros((1, 6)), [Sampling(1.0, 3, 1.0)]))) == [0, 1, 2]


def test_off_is_off_even_for_a_vocabulary_whose_running_sum_passes_1() -> None:
    logits = np.random.default_rng(0).normal(0, 0.01, 20_000)
    assert len(one(logits.tolist())) == 20_000


@pytest.mark.parametrize("temperature", [1e-300, 1e-3, 10.0])
def test_extreme_temperatures_give_a_distribution(temperature: float) -> None:
    probs = one([3.0, -900.0, 2.0], temperature=temperature)
    assert sum(probs.values()) == pytest.approx(1)
    assert max(probs, key=lambda token: probs[token]) == 0


def test_a_token_of_logit_minus_infinity_is_never_in_the_support() -> None:
    assert set(one([0.0, -math.inf, 1.0])) == {0, 2}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_leave_their_own_row_without_support(bad: float) -> None:
    table = np.random.default_rng(1).normal(0, 1, (3, 8))
    spoilt = table.copy()
    spoilt[1, 4] = bad
    samplings = [Sampling(1.0, 4, 0.9)] * 3
    good, other = warped(table, samplings), warped(spoilt, samplings)
    for index in (0, 2):
        assert row(other, index) == row(good, index)


def test_greedy_joint_rules_read_the_plain_softmax() -> None:
    assert unsharpened(Sampling(0.0, 4, 0.8, 0.1, 7)) == Sampling(1.0, 4, 0.8, 0.1, 7)
    assert unsharpened(Sampling(0.4, 4, 0.8, 0.1, 7)) == Sampling(0.4, 4, 0.8, 0.1, 7)


@pytest.mark.parametrize(("top_k", "expected"), [(0, MAX_SUPPORT), (10, 10), (100, MAX_SUPPORT)])
def test_drafts_keep_at_most_64_tokens_and_are_normalised_on_them(top_k: int, expected: int) -> None:
    table = np.random.default_rng(2).normal(0, 1, (1, 200))
    probs = row(warped(table, [drafted(Sampling(1.0, top_k, 1.0))]))
    assert len(probs) == expected
    assert sum(probs.values()) == pytest.approx(1)
    assert set(probs) == set(np.argsort(-table[0], kind="stable")[:expected].tolist())


def test_log_probabilities_are_looked_up_by_row_and_token() -> None:
    table = np.log(np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]))
    support = warped(table, [Sampling(1.0, 2, 1.0)] * 2)
    found = support.log_prob(np.array([0, 1, 1, 0]), np.array([1, 3, 0, 3]))
    assert np.exp(found) == pytest.approx([3 / 7, 4 / 7, 0, 0])
    order = np.argsort(-table, axis=1)
    candidates = Candidates(order, np.take_along_axis(table, order, axis=1) + 5, np.full(2, 5.0))
    assert np.exp(candidates.log_prob(np.array([0, 1]), np.array([1, 3]))) == pytest.approx([0.3, 0.4])
