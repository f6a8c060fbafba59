"""The most probable tokens of real models, against the library's own forward pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Outcome, Proposal, Sampling, Speculation
from tandem.engine.adjusting import Deltas
from tandem.engine.engine import Engine
from tandem.engine.masking import Mask
from tandem.engine.most_probable import candidates_with_top
from tandem.engine.proposer import Proposer
from tandem.engine.readout import top_candidates
from tandem.engine.verifier import Verifier
from tests.engine.conftest import built
from tests.engine.mirror import TOLERANCE
from tests.engine.tiny_models import Tiny

PROMPT = [5, 9, 30, 9]
ADJUSTED = Sampling(presence_penalty=0.9, frequency_penalty=1.3, logit_bias=((9, 4.0), (66, -7.0), (0, 2.5)))


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2", "mistral", "gemma", "opt"])
@pytest.mark.parametrize("sampling", [Sampling(), ADJUSTED], ids=["plain", "adjusted"])
def test_they_are_the_librarys_own(name: str, sampling: Sampling, make_engine: Callable[..., Engine]) -> None:
    target = built(name)
    verifier, proposer = Verifier(make_engine(target, 128)), Proposer(make_engine(built("llama-yarn"), 128))
    for method in ("mtad", "specinfer", "autoregressive", "mtjd"):
        speculation = Speculation(method, 3, 3, 0.3)
        decoding = Decoding(sampling, speculation, 40, prompt_length=len(PROMPT), num_top_log_probs=4)
        verify = verifier.open(PROMPT, decoding)
        draft = None if METHODS[method].target_only else proposer.open(PROMPT, decoding)
        tops: list[tuple[tuple[int, float], ...]] = []
        while verify.position < 20:
            proposal = None
            if draft is not None:
                (made,) = proposer.propose([draft])
                assert isinstance(made, Proposal), made
                proposal = made
            (outcome,) = verifier.judge([(verify, proposal)])
            assert isinstance(outcome, Outcome), outcome
            tops += outcome.top_log_probs
            if draft is not None:
                draft.extend(outcome.token_ids)
        plain = torch.log_softmax(target.plain_logits(verify.token_ids).double(), dim=1)[len(PROMPT) - 1 : -1]
        assert len(tops) == len(plain)
        for top, row in zip(tops, plain, strict=True):
            best = torch.topk(row, 4)
            assert [value for _, value in top] == pytest.approx(best.values.tolist(), abs=TOLERANCE)
            assert [float(row[token]) for token, _ in top] == pytest.approx(best.values.tolist(), abs=TOLERANCE)
        verifier.close(verify)
        if draft is not None:
            proposer.close(draft)


@pytest.mark.parametrize("width", [1, 3, 10, 40])
@pytest.mark.parametrize("num_top", [1, 5, 20])
def test_the_candidates_beside_them_are_those_without(width: int, num_top: int) -> None:
    logits = torch.randint(0, 5, (7, 40), generator=torch.Generator().manual_seed(1)).bfloat16()
    deltas = Deltas(np.array([[0.0, 0.0, 3.0], [1.0, 39.0, 7.0], [3.0, 0.5, -9.0]]))
    mask = Mask(np.array([0, 4]), np.packbits(np.arange(80).reshape(2, 40) % 3 > 0, axis=1, bitorder="little"))
    own = top_candidates(logits, num_top)
    for added, forbidden in ((None, None), (deltas, None), (None, mask), (deltas, mask)):
        found = candidates_with_top(logits, width, added, forbidden, num_top)
        alone = top_candidates(logits, width, added, forbidden)
        np.testing.assert_array_equal(found.ids, alone.ids)
        np.testing.assert_array_equal(found.logits, alone.logits)
        np.testing.assert_array_equal(found.model_logits, alone.model_logits)
        np.testing.assert_array_equal(found.log_normaliser, alone.log_normaliser)
        assert found.top is not None
        np.testing.assert_array_equal(found.top.ids, own.ids)  # ties at the cut-off go to the lowest ids
        np.testing.assert_array_equal(found.top.log_probs, own.logits - own.log_normaliser[:, None])


def test_nothing_is_looked_for_where_nobody_asks(
    llama: Tiny, make_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("nobody had asked")

    monkeypatch.setattr("tandem.engine.engine.candidates_with_top", refuse)
    verifier = Verifier(make_engine(llama))
    text = verifier.open(PROMPT, Decoding(Sampling(), Speculation("autoregressive"), 20))
    (outcome,) = verifier.judge([(text, None)])
    assert isinstance(outcome, Outcome), outcome
    assert outcome.top_log_probs == ()
    verifier.close(text)
