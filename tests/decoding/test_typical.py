"""Typical acceptance against the same rule written as a loop over dicts, and what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tandem.decoding.judgement.typical import Typical, entropies
from tandem.decoding.values import Sampling, Speculation
from tandem.decoding.warp import Support
from tests.decoding.test_joint import chain, joint_of, judged_path
from tests.support.decode import decode, decode_rounds, decoding_of
from tests.support.enumeration import Distribution, plain_warp, warped_table
from tests.support.tabular import random_tables

TABLES = random_tables(seed=4, closeness=0.5)
weights = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=9)


def bar(distribution: Distribution, epsilon: float) -> float:
    """min(ε, δ exp(-H)), as Medusa writes it, with δ = √ε."""
    entropy = -math.fsum(prob * math.log(prob) for prob in distribution.values())
    return min(epsilon, math.sqrt(epsilon) * math.exp(-entropy))


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("epsilon", [0.03, 0.09, 0.3, 0.9])
def test_whole_rounds_agree_with_the_rule_written_as_a_loop(temperature: float, epsilon: float) -> None:
    sampling = Sampling(temperature, top_k=5, top_p=0.9)
    table = warped_table(TABLES[0], sampling)
    decodings = [decoding_of(sampling, Speculation("typical", 4, 3, epsilon), seed) for seed in range(60)]
    accepted: list[int] = []
    for rounds in decode_rounds(TABLES, (3, 5), 12, decodings):
        text = [3, 5]
        for proposal, outcome in rounds:
            assert proposal is not None
            drafted = proposal.tree.token_ids.tolist()
            kept: list[int] = []
            for token in drafted:
                target = table[(*text, *kept)[-2:]]
                if target.get(token, 0.0) <= bar(target, epsilon):
                    break
                kept.append(token)
            assert list(outcome.token_ids[:-1]) == kept
            assert (outcome.num_accepted, outcome.num_drafted) == (len(kept), 4)
            assert outcome.token_ids[-1] in table[(*text, *kept)[-2:]]
            accepted.append(len(kept))
            text += outcome.token_ids
    assert len(set(accepted)) == (5 if temperature else 3)  # all lengths came up (a greedy text runs in a circle)


def test_each_side_of_the_bar() -> None:
    sure = {1: 0.09, 2: 0.91}  # exp(-H) is 0.74: the bar is ε itself
    assert judged_path(Typical(0.09), chain([1], joint_of(0.5)), [sure, {1: 1.0}]) == ()
    assert judged_path(Typical(0.0899), chain([1], joint_of(0.5)), [sure, {1: 1.0}]) == (0,)
    wide = dict.fromkeys(range(20), 0.05)  # exp(-H) is 0.05: the bar is 0.3 of that
    assert judged_path(Typical(0.09), chain([1], joint_of(0.5)), [wide, {1: 1.0}]) == (0,)
    narrow = {0: 0.982, 1: 0.018}
    assert judged_path(Typical(0.09), chain([1], joint_of(0.5)), [narrow, {1: 1.0}]) == ()
    never_said = {0: 1.0}
    assert judged_path(Typical(0.001), chain([1, 1], joint_of(0.5, 0.5)), [never_said, {1: 1.0}, {1: 1.0}]) == ()


def test_the_first_refusal_ends_a_round_whatever_follows() -> None:
    target: list[Distribution] = [{1: 1.0}, {1: 0.01, 2: 0.99}, {1: 1.0}, {1: 1.0}]
    assert judged_path(Typical(0.09), chain([1, 1, 1], joint_of(0.5, 0.5, 0.5)), target) == (0,)


@given(weights, st.floats(0.001, 0.999))
def test_the_most_probable_token_is_always_accepted(given_weights: list[float], epsilon: float) -> None:
    probs = np.array(given_weights) / sum(given_weights)
    target = dict(enumerate(probs.tolist()))
    best = int(np.argmax(probs))
    assert judged_path(Typical(epsilon), chain([best], joint_of(0.5)), [target, {1: 1.0}]) == (0,)


@given(st.lists(weights, min_size=1, max_size=4))
def test_the_entropy_is_in_nats_and_blind_to_padding(rows: list[list[float]]) -> None:
    log_probs = np.full((len(rows), 12), -np.inf)
    for index, row in enumerate(rows):
        log_probs[index, : len(row)] = np.log(np.array(row) / sum(row))
    support = Support(np.zeros((len(rows), 12), int), log_probs, np.array([len(row) for row in rows]))
    assert entropies(support).tolist() == pytest.approx([stats.entropy(row) for row in rows])
    for index, row in enumerate(rows):
        narrow = Support(np.zeros((1, len(row)), int), log_probs[index : index + 1, : len(row)], np.array([len(row)]))
        assert entropies(narrow)[0] == entropies(support)[index]


def test_greedy_is_the_targets_greedy_text_as_in_medusa() -> None:
    text = [3, 5]
    for _ in range(20):
        text += plain_warp(TABLES[0][text[-2], text[-1]].tolist(), Sampling(0.0))
    for epsilon in (0.01, 0.09, 0.9):
        decodings = [decoding_of(Sampling(0.0), Speculation("typical", 4, 1, epsilon), seed) for seed in range(3)]
        assert set(decode(TABLES, (3, 5), 20, decodings)) == {tuple(text[2:])}
