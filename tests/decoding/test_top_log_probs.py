"""The most probable tokens that come with each generated one: the target's own, whatever decides the text."""

from __future__ import annotations

import numpy as np
import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Outcome, Sampling, Speculation
from tandem.errors import InvalidArgument
from tests.support.decode import decode_rounds, decoding_of
from tests.support.language import EOS, LONGEST, constraint, grammars
from tests.support.tabular import random_tables

TABLES = random_tables(seed=8)
PROMPT = (3, 5)
PENALISED = {"presence_penalty": 0.7, "frequency_penalty": 0.4, "logit_bias": ((1, 2.0), (6, -100.0))}


def expected(text: list[int], count: int) -> list[tuple[int, float]]:
    """By the table: falling, ties by rising id."""
    logits = TABLES[0][text[-2], text[-1]]
    log_probs = logits - np.logaddexp.reduce(logits)
    return [(int(token), float(log_probs[token])) for token in np.argsort(-log_probs, kind="stable")[:count]]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("adjusted", [False, True])
def test_they_are_the_targets_own_with_every_method(name: str, temperature: float, adjusted: bool) -> None:
    sampling = Sampling(temperature, 3, 0.9, **(PENALISED if adjusted else {}))  # type: ignore[arg-type]
    # Texts of one pass ask for different numbers of them; some for none.
    counts = [0, 1, 2, 5, 8, 20]
    decodings = [
        decoding_of(
            sampling,
            Speculation(name, 3, 3, 0.3),
            seed,
            prompt_length=len(PROMPT),
            trace=seed % 2 == 0,
            num_top_log_probs=counts[seed % len(counts)],
        )
        for seed in range(24)
    ]
    for decoding, rounds in zip(decodings, decode_rounds(TABLES, PROMPT, 9, decodings), strict=True):
        text, count = list(PROMPT), decoding.num_top_log_probs
        for _, outcome in rounds:
            if not count:
                assert outcome.top_log_probs == ()
                continue
            for token, log_prob, top in zip(outcome.token_ids, outcome.log_probs, outcome.top_log_probs, strict=True):
                found = expected(text, count)
                assert [each for each, _ in top] == [each for each, _ in found]
                assert [value for _, value in top] == pytest.approx([value for _, value in found])
                assert dict(top).get(token, log_prob) == log_prob, "one token, one number"
                text.append(token)


@pytest.mark.parametrize("name", METHODS)
def test_a_constraint_does_not_change_them(name: str) -> None:
    sampling = Sampling(1.0, 4, 0.97, constraint=constraint(), presence_penalty=0.5)
    decodings = [
        decoding_of(
            sampling,
            Speculation(name, 3, 3, 0.3),
            seed,
            prompt_length=len(PROMPT),
            eos_token_ids=(EOS,),
            num_top_log_probs=seed % 6,
        )
        for seed in range(12)
    ]
    num_forbidden = 0
    for decoding, rounds in zip(
        decodings, decode_rounds(TABLES, PROMPT, LONGEST + 1, decodings, grammars()), strict=True
    ):
        text, count = list(PROMPT), decoding.num_top_log_probs
        for _, outcome in rounds:
            assert len(outcome.top_log_probs) == (len(outcome.token_ids) if count else 0)
            for token, top in zip(outcome.token_ids, outcome.top_log_probs, strict=False):
                found = expected(text, count)
                assert [each for each, _ in top] == [each for each, _ in found]
                assert [value for _, value in top] == pytest.approx([value for _, value in found])
                num_forbidden += token not in dict(top)
                text.append(token)
    assert num_forbidden > 0


def test_the_text_is_the_same_whether_they_are_asked_for_or_not() -> None:
    for name in METHODS:
        plain, told = (
            decode_rounds(TABLES, PROMPT, 12, [decoding_of(Sampling(), Speculation(name), 4, num_top_log_probs=n)])[0]
            for n in (0, 5)
        )
        assert [outcome.token_ids for _, outcome in plain] == [outcome.token_ids for _, outcome in told]
        assert [outcome.log_probs for _, outcome in plain] == [outcome.log_probs for _, outcome in told]


def test_a_cut_outcome_keeps_those_of_the_tokens_that_are_left() -> None:
    top = (((1, -0.5),), ((2, -0.25),), ((3, -0.125),))
    outcome = Outcome((1, 2, 3), 2, 4, (-0.5, -0.25, -0.125), top_log_probs=top)
    assert outcome.cut(2).top_log_probs == top[:2]
    assert Outcome((1, 2), 1, 4, (-0.5, -0.25)).cut(1).top_log_probs == ()


@pytest.mark.parametrize("count", [-1, 21])
def test_a_number_out_of_bounds_is_refused_by_name(count: int) -> None:
    with pytest.raises(InvalidArgument, match="num_top_log_probs") as refused:
        Decoding(Sampling(), Speculation(), 10, num_top_log_probs=count)
    assert refused.value.field == "num_top_log_probs"
