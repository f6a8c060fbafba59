"""Penalties and bias: every method decodes from the adjusted target, by enumeration, where each node of a token tree
counts its own path.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tandem.decoding.adjusting import NOTHING_SAID, Adjuster, Adjustment, Tally
from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Ids, Sampling, Speculation
from tests.support.decode import decode, decode_rounds, decoding_of
from tests.support.enumerated import LEAST_P, TABLES
from tests.support.enumeration import (
    Text,
    adjusted_text_distribution,
    goodness_of_fit,
    plain_adjust,
    plain_warp,
)

PROMPT = (3, 5, 2)
NUM_TOKENS = 4
ADJUSTED = Sampling(
    1.0, 4, 0.95, presence_penalty=1.5, frequency_penalty=-0.75, logit_bias=((2, 1.5), (6, -2.0), (5, 0.5))
)
"""A frequency that attracts makes texts repeat themselves, so that counts above 1 are met."""
LOSSLESS = [
    Speculation("autoregressive"),
    Speculation("coupled", draft_length=3),
    Speculation("speculative", draft_length=3),
    Speculation("block", draft_length=3),
    Speculation("specinfer", draft_length=2, beam_width=3),
]


def of(speculation: Speculation, seed: int = 0, sampling: Sampling = ADJUSTED) -> Decoding:
    return decoding_of(sampling, speculation, seed, prompt_length=len(PROMPT))


def texts(speculation: Speculation, count: int) -> list[Text]:
    return decode(TABLES, PROMPT, NUM_TOKENS, [of(speculation, seed) for seed in range(count)])


@cache
def exact() -> dict[Text, float]:
    return adjusted_text_distribution(TABLES[0], ADJUSTED, PROMPT, NUM_TOKENS)


def test_the_enumeration_is_worth_comparing_with() -> None:
    # Penalties decide: texts repeat tokens of their own and of the prompt, and are far from those without.
    plain = adjusted_text_distribution(TABLES[0], Sampling(1.0, 4, 0.95), PROMPT, NUM_TOKENS)
    assert sum(prob for text, prob in exact().items() if max(map(text.count, text)) > 1) > 0.2
    assert sum(prob for text, prob in exact().items() if set(text) & set(PROMPT)) > 0.2
    distance = sum(abs(exact().get(text, 0) - plain.get(text, 0)) for text in exact().keys() | plain.keys()) / 2
    assert distance > 0.2


@pytest.mark.parametrize("speculation", LOSSLESS, ids=lambda speculation: speculation.method)
def test_decoded_texts_have_exactly_the_adjusted_targets_distribution(speculation: Speculation) -> None:
    assert METHODS[speculation.method].lossless
    assert goodness_of_fit(texts(speculation, 3_000), exact()) > LEAST_P


class WithoutThePath(Adjuster):
    """Counts the text alone, so that every node of a tree is adjusted as its root is."""

    def after(self, said: Tally, tree_tokens: Ids, tree_parents: Ids, nodes: Ids) -> Adjustment:
        return super().after(said, tree_tokens, tree_parents, np.full_like(nodes, -1))


class WithoutTheText(Adjuster):
    """Counts the path alone."""

    def after(self, said: Tally, tree_tokens: Ids, tree_parents: Ids, nodes: Ids) -> Adjustment:
        return super().after(NOTHING_SAID, tree_tokens, tree_parents, nodes)


@pytest.mark.parametrize(
    ("speculation", "wrong"),
    [
        pytest.param(LOSSLESS[1], WithoutThePath, id="coupled, without the path"),
        pytest.param(LOSSLESS[4], WithoutThePath, id="specinfer, without the path"),
        pytest.param(LOSSLESS[1], WithoutTheText, id="coupled, without the text"),
    ],
)
def test_counts_of_less_than_text_and_path_fail_the_same_comparison(
    monkeypatch: pytest.MonkeyPatch, speculation: Speculation, wrong: type[Adjuster]
) -> None:
    monkeypatch.setattr("tandem.engine.text.Adjuster", wrong)
    assert goodness_of_fit(texts(speculation, 2_000), exact()) < LEAST_P


def test_a_prompt_that_counts_fails_the_same_comparison() -> None:
    decodings = [decoding_of(ADJUSTED, LOSSLESS[0], seed, prompt_length=0) for seed in range(2_000)]
    assert goodness_of_fit(decode(TABLES, PROMPT, NUM_TOKENS, decodings), exact()) < LEAST_P


def test_coupled_is_autoregressive_token_by_token_whatever_is_drafted() -> None:
    def long_texts(speculation: Speculation) -> list[Text]:
        return decode(TABLES, PROMPT, 12, [of(speculation, seed) for seed in range(150)])

    alone = long_texts(LOSSLESS[0])
    for draft_length in (1, 2, 3, 5, 8):
        assert long_texts(Speculation("coupled", draft_length=draft_length)) == alone


def test_a_text_that_is_taken_up_elsewhere_goes_on_as_it_would_have() -> None:
    # Another replica gets prompt and generated tokens as one text: the decoding tells it where the prompt ends.
    for seed in range(30):
        decoding = of(LOSSLESS[0], seed)
        (whole,) = decode(TABLES, PROMPT, 10, [decoding])
        for taken_up in (1, 4, 9):
            (rest,) = decode(TABLES, (*PROMPT, *whole[:taken_up]), 10 - taken_up, [decoding])
            assert rest == whole[taken_up:]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_likelihoods_are_told_of_the_target_as_it_is(name: str, temperature: float) -> None:
    sampling = Sampling(
        temperature, 5, 0.95, presence_penalty=0.7, frequency_penalty=0.4, logit_bias=((1, 2.0), (6, -3.0))
    )
    decodings = [of(Speculation(name, 3, 3, 0.3), seed, sampling) for seed in range(20)]
    for rounds in decode_rounds(TABLES, PROMPT, 8, decodings):
        text = list(PROMPT)
        for _, outcome in rounds:
            for token, log_prob in zip(outcome.token_ids, outcome.log_probs, strict=True):
                logits = TABLES[0][text[-2], text[-1]]
                assert log_prob == pytest.approx(float(logits[token] - np.logaddexp.reduce(logits)))
                text.append(token)


@pytest.mark.parametrize("name", ["mtad", "mmtad", "specinfer", "bild", "typical"])
def test_joint_likelihoods_of_a_trace_are_of_the_adjusted_models(name: str) -> None:
    sampling = Sampling(0.8, 5, presence_penalty=0.7, frequency_penalty=0.4, top_p=1.0, logit_bias=((1, 2.0),))
    rounds_of = decode_rounds(
        TABLES,
        PROMPT,
        9,
        [
            decoding_of(sampling, Speculation(name, 3, 3, 0.3), seed, prompt_length=len(PROMPT), trace=True)
            for seed in range(10)
        ],
    )
    compared = 0
    for rounds in rounds_of:
        said: list[int] = []
        for _, outcome in rounds:
            trace = outcome.trace
            assert trace is not None
            paths: list[tuple[int, ...]] = []
            for token, parent in zip(trace.token_ids, trace.parents, strict=True):
                paths.append((*(paths[parent] if parent >= 0 else ()), token))
            for table, joint in zip(TABLES, (trace.target_joint_log_probs, trace.draft_joint_log_probs), strict=True):
                for path, told in zip(paths, joint, strict=True):
                    assert told == pytest.approx(joint_log_prob(table, sampling, said, path), abs=1e-9)
                    compared += 1
            said += outcome.token_ids
    assert compared > 50


def joint_log_prob(table: np.ndarray, sampling: Sampling, said: list[int], path: tuple[int, ...]) -> float:
    joint, generated = 0.0, list(said)
    for token in path:
        last_two = (*PROMPT, *generated)[-2:]
        warped = plain_warp(plain_adjust(table[last_two].tolist(), sampling, generated), sampling)
        joint += float(np.log(warped[token])) if token in warped else -np.inf
        generated.append(token)
    return joint


def test_texts_with_and_without_share_a_batch_and_change_nothing_for_each_other() -> None:
    kinds = [Sampling(1.0, 4, 0.95), ADJUSTED, Sampling(0.0, 4), Sampling(1.0, 4, 0.95, logit_bias=((1, -100.0),))]
    mixed = [
        of(Speculation(name, 3, 3, METHODS[name].default_threshold), 7, sampling)
        for name in METHODS
        for sampling in kinds
    ]
    together = decode(TABLES, PROMPT, 9, mixed)
    assert together == [decode(TABLES, PROMPT, 9, [alone])[0] for alone in mixed]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("top_k", [3, 0])
def test_a_bias_bans_and_forces(name: str, temperature: float, top_k: int) -> None:
    speculation = Speculation(name, 3, 3, METHODS[name].default_threshold)
    free = decode(TABLES, PROMPT, 9, [of(speculation, seed, Sampling(temperature, top_k, 1.0)) for seed in range(20)])
    favourite = max(range(8), key=[token for text in free for token in text].count)
    for bias in (-100.0, 100.0):
        sampling = Sampling(temperature, top_k, 1.0, logit_bias=((favourite, bias),))
        for text in decode(TABLES, PROMPT, 9, [of(speculation, seed, sampling) for seed in range(20)]):
            assert text.count(favourite) == (9 if bias > 0 else 0)


def test_a_tree_is_counted_node_by_node() -> None:
    adjuster = Adjuster.of(Sampling(presence_penalty=1.0, frequency_penalty=0.25, logit_bias=((9, 3.0), (4, -1.0))))
    assert adjuster is not None
    tokens, parents = np.array([4, 7, 4, 4, 2]), np.array([-1, -1, 0, 2, 1])
    found = adjuster.after(Tally.of([4, 2, 2]), tokens, parents, np.array([-1, 3, 4, 0]))
    assert found.token_ids.tolist() == [2, 4, 7, 9]
    assert found.deltas.tolist() == [
        [-1.5, -2.25, 0.0, 3.0],
        [-1.5, -3.0, 0.0, 3.0],  # 4, 4, 4 on its path
        [-1.75, -2.25, -1.25, 3.0],  # 7, 2
        [-1.5, -2.5, 0.0, 3.0],
    ]


def test_a_bias_alone_counts_nothing_and_neither_is_none() -> None:
    adjuster = Adjuster.of(Sampling(logit_bias=((9, 3.0), (4, -1.0))))
    assert adjuster is not None
    found = adjuster.after(Tally.of([1, 2]), np.array([3]), np.array([-1]), np.array([-1, 0]))
    assert (found.token_ids.tolist(), found.deltas.tolist()) == ([4, 9], [[-1.0, 3.0]] * 2)
    assert Adjuster.of(Sampling()) is None


def test_the_plain_computation_is_openais() -> None:
    sampling = Sampling(presence_penalty=0.5, frequency_penalty=0.25, logit_bias=((1, 2.0),))
    assert plain_adjust([0.0, 0.0, 0.0], sampling, [2, 2, 1]) == [0.0, 1.25, -1.0]
