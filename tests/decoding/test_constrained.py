"""Constraints: every method decodes from the target as cut to what is allowed, by enumeration of a small language."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Ids, Sampling, Speculation
from tandem.matching import Bitmask, Matcher
from tests.support.decode import decode, decode_rounds, decoding_of
from tests.support.enumerated import LEAST_P, TABLES
from tests.support.enumeration import Text, goodness_of_fit
from tests.support.language import (
    EOS,
    LONGEST,
    allowed_after,
    allowed_distribution,
    constraint,
    grammars,
    sentence_distribution,
    sentences,
)

PROMPT = (3, 5)
CONSTRAINED = Sampling(1.0, 4, 0.97, constraint=constraint())
LOSSLESS = [
    Speculation("autoregressive"),
    Speculation("coupled", draft_length=3),
    Speculation("speculative", draft_length=3),
    Speculation("block", draft_length=3),
    Speculation("specinfer", draft_length=2, beam_width=3),
]


def of(speculation: Speculation, seed: int = 0, sampling: Sampling = CONSTRAINED, trace: bool = False) -> Decoding:
    return decoding_of(sampling, speculation, seed, prompt_length=len(PROMPT), eos_token_ids=(EOS,), trace=trace)


def texts(speculation: Speculation, count: int, sampling: Sampling = CONSTRAINED) -> list[Text]:
    decodings = [of(speculation, seed, sampling) for seed in range(count)]
    return [cut(text) for text in decode(TABLES, PROMPT, LONGEST + 1, decodings, grammars=grammars())]


def cut(text: Text) -> Text:
    """As the commit cuts: after the first end token."""
    return text[: text.index(EOS) + 1] if EOS in text else text


@cache
def exact() -> dict[Text, float]:
    return sentence_distribution(TABLES[0], CONSTRAINED, PROMPT)


def test_the_enumeration_is_worth_comparing_with() -> None:
    assert math.fsum(exact().values()) == pytest.approx(1)
    assert {text[:-1] for text in exact()} <= sentences()
    assert len(exact()) > 20
    assert {len(text) for text in exact()} == {2, 3, 4, 5}


@pytest.mark.parametrize("speculation", LOSSLESS, ids=lambda speculation: speculation.method)
def test_decoded_texts_have_exactly_the_allowed_targets_distribution(speculation: Speculation) -> None:
    assert METHODS[speculation.method].lossless
    assert goodness_of_fit(texts(speculation, 3_000), exact()) > LEAST_P


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_writes_sentences_only(method: str, temperature: float) -> None:
    sampling = Sampling(temperature, 0, 1.0, constraint=constraint())
    for draft_length, beam_width in ((1, 1), (3, 2), (6, 4)):
        speculation = Speculation(method, draft_length, beam_width, METHODS[method].default_threshold)
        for text in texts(speculation, 60, sampling):
            assert text[-1] == EOS
            assert text[:-1] in sentences()


@pytest.mark.parametrize("method", ["mtad", "mmtad", "speculative", "typical"])
def test_joint_log_likelihoods_are_those_of_the_allowed_target(method: str) -> None:
    speculation = Speculation(method, draft_length=3, beam_width=3, threshold=0.3)
    num_nodes = 0
    for rounds in decode_rounds(
        TABLES, PROMPT, LONGEST + 1, [of(speculation, seed, trace=True) for seed in range(40)], grammars()
    ):
        said: Text = ()
        for _, outcome in rounds:
            assert outcome.trace is not None
            for node in range(len(outcome.trace.token_ids)):
                path, at = list[int](), node
                while at >= 0:
                    path.insert(0, outcome.trace.token_ids[at])
                    at = outcome.trace.parents[at]
                if EOS in path[:-1]:
                    continue  # beyond an end nothing is ever kept, and anything goes
                num_nodes += 1
                assert set(path[-1:]) <= allowed_after((*said, *path[:-1])), "the draft proposed what may not stand"
                joint = 0.0
                for length, token in enumerate(path):
                    target = allowed_distribution(TABLES[0], CONSTRAINED, PROMPT, (*said, *path[:length]))
                    joint += math.log(target[token]) if token in target else -math.inf
                assert outcome.trace.target_joint_log_probs[node] == pytest.approx(joint, abs=1e-9)
            said = (*said, *outcome.token_ids)
    assert num_nodes > 100


class AtTheRoot(Matcher):
    """Allows after every node of a tree what is allowed after the text."""

    def allowed(self, tree_tokens: Ids, tree_parents: Ids, nodes: Ids) -> Bitmask:
        return super().allowed(tree_tokens, tree_parents, np.full_like(nodes, -1))


@pytest.mark.parametrize("speculation", LOSSLESS[1:4], ids=lambda speculation: speculation.method)
def test_allowing_everywhere_what_is_allowed_at_the_root_leads_out_of_the_language(
    monkeypatch: pytest.MonkeyPatch, speculation: Speculation
) -> None:
    monkeypatch.setattr("tandem.matching.Matcher", AtTheRoot)
    decodings = [of(speculation, seed) for seed in range(50)]
    with pytest.raises(AssertionError, match="breaks its regex"):
        decode(TABLES, PROMPT, LONGEST + 1, decodings, grammars=grammars())


def test_coupled_says_what_the_target_says_alone() -> None:
    alone = texts(Speculation("autoregressive"), 300)
    for draft_length in (1, 2, 5):
        assert texts(Speculation("coupled", draft_length), 300) == alone
