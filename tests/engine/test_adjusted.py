"""Adjusted candidates of the engine, against the library's own logits adjusted in plain Python, node by node."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.decoding.adjusting import Adjuster, Adjustment, Tally
from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Outcome, Proposal, Sampling, Speculation
from tandem.engine.adjusting import Deltas
from tandem.engine.engine import Engine
from tandem.engine.proposer import Proposer
from tandem.engine.readout import top_candidates
from tandem.engine.text import TextSequence
from tandem.engine.tree_model import Row
from tandem.engine.verifier import Verifier
from tandem.errors import InvalidArgument
from tests.engine.conftest import built
from tests.engine.mirror import TOLERANCE, chain, ints
from tests.engine.tiny_models import VOCAB_SIZE, Tiny
from tests.support.decode import decoding_of
from tests.support.enumeration import plain_adjust

PROMPT = [5, 9, 30, 9]
SAMPLING = Sampling(presence_penalty=0.9, frequency_penalty=1.3, logit_bias=((9, 4.0), (66, -7.0), (0, 2.5)))
TREE = ints(9, 12, 9, 9, 12, 40), ints(-1, -1, 0, 2, 2, 1)
PATHS = [[], [9], [12], [9, 9], [9, 9, 9], [9, 9, 12], [12, 40]]


def text_in(engine: Engine, said: list[int], sampling: Sampling) -> TextSequence:
    decoding = decoding_of(sampling, Speculation(), 0, prompt_length=len(PROMPT))
    return TextSequence(engine.open(), PROMPT + said, decoding, sampling)


def expected(model: Tiny, sampling: Sampling, said: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Adjusted and raw logits `[nodes + 1, vocab]` by the library alone, each over its own path."""
    raw = [model.plain_logits([*PROMPT, *said, *path])[-1].double().numpy() for path in PATHS]
    adjusted = [plain_adjust(row.tolist(), sampling, [*said, *path]) for row, path in zip(raw, PATHS, strict=True)]
    return np.array(adjusted), np.array(raw)


def test_a_tree_is_adjusted_as_the_librarys_own_logits_are(
    each_model: Tiny, make_engine: Callable[..., Engine]
) -> None:
    engine, said = make_engine(each_model), [12, 40, 12]
    text = text_in(engine, said, SAMPLING)
    found = engine.candidates([text.feed_text_and_tree(*TREE)], VOCAB_SIZE)
    adjusted, raw = expected(each_model, SAMPLING, said)
    assert found.unadjusted is not None
    np.testing.assert_allclose(np.take_along_axis(adjusted, found.ids, 1), found.logits, atol=TOLERANCE)
    np.testing.assert_allclose(np.take_along_axis(raw, found.ids, 1), found.unadjusted, atol=TOLERANCE)
    np.testing.assert_allclose(np.logaddexp.reduce(raw, axis=1), found.log_normaliser, atol=TOLERANCE)
    assert (np.diff(found.logits, axis=1) <= 0).all()
    narrow = engine.candidates([text.feed_text_and_tree(*TREE)], 5)
    np.testing.assert_array_equal(narrow.ids, found.ids[:, :5])


def test_layers_grown_one_by_one_are_adjusted_as_the_whole_tree(
    llama: Tiny, make_engine: Callable[..., Engine]
) -> None:
    engine, said = make_engine(llama), [12, 40, 12]
    whole = engine.candidates([text_in(engine, said, SAMPLING).feed_text_and_tree(*TREE)], 8)
    text = text_in(engine, said, SAMPLING)
    rows = [text.feed_text_and_tree()]
    layers = [engine.candidates(rows, 8)]
    for start, stop in ((0, 2), (2, 3), (3, 5)):
        layers.append(engine.candidates([text.feed_nodes(TREE[0][start:stop], TREE[1][start:stop])], 8))
    np.testing.assert_array_equal(np.concatenate([layer.ids for layer in layers]), whole.ids[:6])
    np.testing.assert_allclose(np.concatenate([layer.logits for layer in layers]), whole.logits[:6], atol=TOLERANCE)


def test_rows_with_and_without_share_a_pass(llama: Tiny, make_engine: Callable[..., Engine]) -> None:
    engine, said = make_engine(llama), [12, 40]
    samplings = [Sampling(), SAMPLING, Sampling(), Sampling(logit_bias=((3, 50.0),))]

    def row(sampling: Sampling) -> Row:
        return text_in(engine, said, sampling).feed_text_and_tree(*TREE)

    together = engine.candidates([row(sampling) for sampling in samplings], 6)
    for index, sampling in enumerate(samplings):
        alone = engine.candidates([row(sampling)], 6)
        assert (alone.unadjusted is None) == (sampling == Sampling())
        mine = slice(7 * index, 7 * index + 7)
        np.testing.assert_array_equal(together.ids[mine], alone.ids)
        np.testing.assert_allclose(together.logits[mine], alone.logits, atol=TOLERANCE)
        np.testing.assert_allclose(together.model_logits[mine], alone.model_logits, atol=TOLERANCE)
        np.testing.assert_allclose(together.log_normaliser[mine], alone.log_normaliser, atol=TOLERANCE)


@pytest.mark.parametrize("width", [1, 3, 7, 40])
def test_ties_made_and_broken_by_adjusting_go_to_the_lowest_id(width: int) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randint(0, 4, (6, 40), generator=generator).bfloat16()
    before = logits.clone()
    adjustments = [(ints(1, 7, 20), np.array([[1.0, 0.3, -2.0]])), (ints(39), np.array([[3.0]])), None] * 2
    rows = [
        Row(None, ints(0), ints(-1), ints(0), None if parts is None else Adjustment(*parts))  # type: ignore[arg-type]
        for parts in adjustments
    ]
    found = top_candidates(logits, width, Deltas.of(rows))
    assert torch.equal(logits, before)
    exact = logits.double().numpy()
    adjusted = exact.copy()
    for index, parts in enumerate(adjustments):
        if parts is not None:
            # A sum is rounded to float32 once; bfloat16 would make 0.3 a quarter or a third, and other ties.
            adjusted[index, parts[0]] = (adjusted[index, parts[0]] + parts[1][0]).astype(np.float32)
    ids = np.argsort(-adjusted, axis=1, kind="stable")[:, :width]
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.logits, np.take_along_axis(adjusted, ids, 1))
    np.testing.assert_array_equal(found.model_logits, np.take_along_axis(exact, ids, 1))
    np.testing.assert_array_equal(found.log_normaliser, top_candidates(logits, 1).log_normaliser)


@pytest.mark.parametrize(
    ("adjustment", "named"),
    [
        (Adjustment(ints(VOCAB_SIZE), np.ones((3, 1))), "adjusted id"),
        (Adjustment(ints(-1), np.ones((3, 1))), "adjusted id"),
        (Adjustment(ints(2), np.ones((2, 1))), "not of the logits"),
        (Adjustment(ints(2, 3), np.ones((3, 1))), "not of the logits"),
    ],
)
def test_an_adjustment_that_does_not_fit_is_refused(
    llama: Tiny, make_engine: Callable[..., Engine], adjustment: Adjustment, named: str
) -> None:
    engine = make_engine(llama)
    with pytest.raises(InvalidArgument, match=named):
        engine.candidates([Row(engine.open(), ints(1, 2, 3), chain(0, 3), np.arange(3), adjustment)], 4)


class Pair:
    """A draft and a target engine of one vocabulary, and the library's log-probabilities of the target's."""

    def __init__(self) -> None:
        self.target = built("llama")
        self.verifier = Verifier(self.target.engine(128))
        self.proposer = Proposer(built("gpt2").engine(128))

    def text(self, decoding: Decoding, num_tokens: int) -> tuple[list[int], list[float]]:
        drafted = not METHODS[decoding.speculation.method].target_only
        verify = self.verifier.open(PROMPT, decoding)
        draft = self.proposer.open(PROMPT, decoding) if drafted else None
        log_probs: list[float] = []
        while verify.position < len(PROMPT) + num_tokens:
            proposal = None
            if draft is not None:
                (made,) = self.proposer.propose([draft])
                assert isinstance(made, Proposal), made
                proposal = made
            (outcome,) = self.verifier.judge([(verify, proposal)])
            assert isinstance(outcome, Outcome), outcome
            log_probs += outcome.log_probs
            if draft is not None:
                draft.extend(outcome.token_ids)
        text = list(verify.token_ids)
        self.verifier.close(verify)
        if draft is not None:
            self.proposer.close(draft)
        self.verifier.check_integrity()
        self.proposer.check_integrity()
        return text, log_probs


biases = st.dictionaries(
    st.integers(0, VOCAB_SIZE - 1), st.sampled_from([-100.0, 100.0]) | st.floats(-100, 100), max_size=8
)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.01, 1.0, 10.0]) | st.floats(0, 10),
    top_k=st.sampled_from([0, 1, 5, 64, VOCAB_SIZE, 1_000_000]),
    top_p=st.sampled_from([1.0, 0.9, 1e-9]) | st.floats(0, 1, exclude_min=True),
    min_p=st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    seed=st.integers(0, 2**64 - 1),
    presence_penalty=st.sampled_from([0.0, -2.0, 2.0]) | st.floats(-2, 2),
    frequency_penalty=st.sampled_from([0.0, -2.0, 2.0]) | st.floats(-2, 2),
    logit_bias=biases.map(lambda drawn: tuple(drawn.items())),
)
speculations = st.builds(
    Speculation,
    method=st.sampled_from(sorted(METHODS)),
    draft_length=st.sampled_from([1, 2, 3, 5, 9, 16]),
    beam_width=st.sampled_from([1, 2, 4, 16]),
    threshold=st.sampled_from([1e-9, 0.1, 0.5, 0.999]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(samplings, speculations)
def test_no_parameters_break_a_text_and_its_likelihoods_are_the_librarys(
    sampling: Sampling, speculation: Speculation
) -> None:
    pair = Pair()
    text, log_probs = pair.text(Decoding(sampling, speculation, 90, prompt_length=len(PROMPT)), 12)
    assert len(log_probs) == len(text) - len(PROMPT)
    plain = torch.log_softmax(pair.target.plain_logits(text).double(), dim=1)
    for place, log_prob in enumerate(log_probs, len(PROMPT)):
        assert math.isfinite(log_prob)
        assert log_prob == pytest.approx(float(plain[place - 1, text[place]]), abs=1e-3)


def test_coupled_is_autoregressive_with_penalties_on_a_real_model() -> None:
    pair = Pair()
    for seed in range(6):
        sampling = Sampling(seed=seed, presence_penalty=0.8, frequency_penalty=0.6, logit_bias=((3, 2.0),))
        texts = {
            tuple(pair.text(Decoding(sampling, speculation, 90, prompt_length=len(PROMPT)), 24)[0][:28])
            for speculation in (Speculation("autoregressive"), *(Speculation("coupled", n) for n in (1, 4, 7)))
        }
        assert len(texts) == 1


def test_a_text_that_is_cut_back_counts_what_is_left(llama: Tiny, make_engine: Callable[..., Engine]) -> None:
    engine, said = make_engine(llama), [12, 40, 12]
    text = text_in(engine, [*said, 12, 12, 3], SAMPLING)
    engine.candidates([text.feed_text_and_tree(*TREE)], 4)
    text.replace_text(PROMPT + said)
    row = text.feed_text_and_tree(*TREE)
    adjuster = Adjuster.of(SAMPLING)
    assert adjuster is not None
    assert row.adjustment is not None
    fresh = adjuster.after(Tally.of(said), *TREE, np.arange(-1, 6))
    np.testing.assert_array_equal(row.adjustment.token_ids, fresh.token_ids)
    np.testing.assert_array_equal(row.adjustment.deltas, fresh.deltas)
