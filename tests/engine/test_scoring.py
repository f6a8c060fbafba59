"""Given texts, scored in chunks, against the library's own forward pass and against enumeration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from tandem.decoding.values import Decoding, Outcome, Sampling, Speculation, TextScores
from tandem.engine.engine import Engine
from tandem.engine.scores import scores_of
from tandem.engine.scoring import ScoredText, Scorer
from tandem.engine.verifier import Verifier
from tandem.errors import OutOfKV, RowFailed
from tests.engine.mirror import TOLERANCE
from tests.engine.tiny_models import MAX_POSITIONS, VOCAB_SIZE, Tiny
from tests.support.tabular import TabularModel, random_tables

TABLE = random_tables(seed=8)[0]


def random_text(length: int, seed: int = 0, vocab_size: int = VOCAB_SIZE) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocab_size, length).tolist()


def scored(scorer: Scorer, texts: Sequence[Sequence[int]], chunk: int, num_top: int = 0) -> list[TextScores]:
    opened = [scorer.open(text, num_top) for text in texts]
    while waiting := [text for text in opened if not text.finished]:
        results = scorer.advance([(text, min(chunk, text.num_pending)) for text in waiting])
        assert results == [None] * len(waiting)
    for text in opened:
        scorer.close(text)
    return [text.scores for text in opened]


@pytest.mark.parametrize("chunk", [7, 512])
def test_scores_are_the_librarys_own(each_model: Tiny, make_engine: Callable[..., Engine], chunk: int) -> None:
    engine = make_engine(each_model, 128)
    texts = [random_text(length, length) for length in (2, 9, 40, MAX_POSITIONS)]
    for text, found in zip(texts, scored(Verifier(engine).scorer(), texts, chunk, 5), strict=True):
        plain = torch.log_softmax(each_model.plain_logits(text).double(), dim=1)[:-1]
        chosen = plain[torch.arange(len(text) - 1), torch.tensor(text[1:])]
        assert list(found.log_probs) == pytest.approx(chosen.tolist(), abs=TOLERANCE)
        for rank, top, row, token, own in zip(
            found.ranks, found.top_log_probs, plain, text[1:], found.log_probs, strict=True
        ):
            assert [value for _, value in top] == pytest.approx(torch.topk(row, 5).values.tolist(), abs=TOLERANCE)
            assert (rank <= 5) == (token in dict(top))
            if rank <= 5:
                assert top[rank - 1] == (token, own), "one token, one number"
            above, level = (int((row > row[token] + margin).sum()) for margin in (TOLERANCE, -TOLERANCE))
            assert above < rank <= level
    assert engine.kv_usage == 0


def test_scores_of_a_table_are_exact_in_any_chunks_and_company() -> None:
    texts = [random_text(length, length, 8) for length in (1, 2, 3, 30, 31)]
    for chunk in (1, 4, 100):
        for text, found in zip(texts, scored(Verifier(TabularModel(TABLE)).scorer(), texts, chunk, 20), strict=True):
            padded = [0, *text]
            assert len(found.log_probs) == len(text) - 1
            for place, token in enumerate(text[1:], 1):
                logits = TABLE[padded[place - 1], padded[place]]
                log_probs = logits - np.logaddexp.reduce(logits)
                order = np.argsort(-logits, kind="stable").tolist()
                assert found.log_probs[place - 1] == pytest.approx(log_probs[token])
                assert found.ranks[place - 1] == 1 + order.index(token)
                assert [each for each, _ in found.top_log_probs[place - 1]] == order


@pytest.mark.parametrize("num_rows", [0, 1, 64, 65, 200])
@pytest.mark.parametrize("num_top", [0, 3, 50])
def test_equals_rank_by_id_and_bfloat16_stays_exact(num_rows: int, num_top: int) -> None:
    logits = torch.randint(0, 5, (num_rows, 40), generator=torch.Generator().manual_seed(1)).bfloat16()
    ids = np.random.default_rng(2).integers(0, 40, num_rows)
    found = scores_of(logits, ids, num_top)
    exact = logits.double().numpy()
    order = np.argsort(-exact, axis=1, kind="stable")
    np.testing.assert_array_equal(found.ranks, 1 + np.argmax(order == ids[:, None], axis=1))
    normaliser = torch.logsumexp(logits.double(), dim=1).numpy()
    np.testing.assert_allclose(found.log_probs, exact[np.arange(num_rows), ids] - normaliser, atol=1e-5)
    assert (found.top is None) == (num_top == 0)
    if found.top is not None:
        np.testing.assert_array_equal(found.top.ids, order[:, : min(num_top, 40)])


def test_kv_of_others_gives_way_and_comes_again() -> None:
    model = TabularModel(TABLE, capacity=24)
    verifier = Verifier(model)
    scorer = verifier.scorer()
    decoding = Decoding(Sampling(seed=3), Speculation("autoregressive"), 18)
    alone = Verifier(TabularModel(TABLE))
    expected, sequence = alone.open([1, 2, 3], decoding), verifier.open([1, 2, 3], decoding)
    text = scorer.open(random_text(20, 1, 8), 0)
    while not sequence.finished:  # both want more than there is: each pass takes the other's
        for each, judge in ((sequence, verifier), (expected, alone)):
            (outcome,) = judge.judge([(each, None)])
            assert isinstance(outcome, Outcome), outcome
        if not text.finished:
            assert scorer.advance([(text, min(5, text.num_pending))]) == [None]
    while not text.finished:
        assert scorer.advance([(text, min(5, text.num_pending))]) == [None]
    assert text.num_evicted > 0
    assert sequence.token_ids == expected.token_ids
    assert text.scores == scored(Verifier(TabularModel(TABLE)).scorer(), [random_text(20, 1, 8)], 100)[0]
    scorer.close(text)
    scorer.close(text)
    verifier.close(sequence)
    assert model.num_held == 0


def test_a_text_that_never_fits_fails_alone() -> None:
    model = TabularModel(TABLE, capacity=16)
    scorer = Verifier(model).scorer()
    small, large = scorer.open(random_text(6, 1, 8), 0), scorer.open(random_text(40, 1, 8), 0)
    results = scorer.advance([(small, small.num_pending), (large, large.num_pending)])
    assert results[0] is None
    assert isinstance(results[1], OutOfKV)
    assert small.finished


def test_logits_that_are_not_finite_fail_their_own_text() -> None:
    table = TABLE.copy()
    table[3, 4] = np.nan
    scorer = Verifier(TabularModel(table)).scorer()
    bad, good = scorer.open([3, 4, 5], 2), scorer.open([3, 5, 4], 0)
    results = scorer.advance([(bad, bad.num_pending), (good, good.num_pending)])
    assert isinstance(results[0], RowFailed)
    assert results[1] is None
    assert good.finished
    assert isinstance(bad, ScoredText)
