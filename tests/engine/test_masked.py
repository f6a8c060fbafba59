"""Candidates of the engine under masks, against the library's own logits with what is forbidden left out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tandem.decoding.adjusting import Adjustment
from tandem.engine.engine import Engine
from tandem.engine.masking import Mask
from tandem.engine.readout import top_candidates
from tandem.engine.tree_model import Row
from tandem.errors import InvalidArgument
from tandem.matching import Bitmask
from tests.engine.conftest import built
from tests.engine.mirror import TOLERANCE, chain, ints
from tests.engine.tiny_models import VOCAB_SIZE, Tiny

PROMPT = ints(5, 9, 30, 9)
ADJUSTMENT = Adjustment(ints(3, 40), np.array([[2.0, -1.0]] * 2))


def bits(*rows: set[int], width: int = VOCAB_SIZE) -> Bitmask:
    allowed = np.zeros((len(rows), width), np.uint8)
    for row, tokens in enumerate(rows):
        allowed[row, sorted(tokens)] = 1
    return np.packbits(allowed, axis=1, bitorder="little")


def row_of(engine: Engine, allowed: Bitmask | None, adjustment: Adjustment | None = None) -> Row:
    """Asks for what follows the third and the fourth token."""
    return Row(engine.open(), PROMPT, chain(0, 4), ints(2, 3), adjustment, allowed)


def test_what_is_forbidden_is_left_out_and_the_rest_is_the_librarys(
    each_model: Tiny, make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine(each_model)
    raw = each_model.plain_logits(PROMPT.tolist())[2:].double().numpy()
    choices = [{3, 7, 40, VOCAB_SIZE - 1}, {0, 2, 66}]
    found = engine.candidates([row_of(engine, bits(*choices))], 5)
    np.testing.assert_allclose(np.logaddexp.reduce(raw, axis=1), found.log_normaliser, atol=TOLERANCE)
    for place, allowed in enumerate(choices):
        ranked = sorted(allowed, key=lambda token: -raw[place, token])
        count = len(ranked)
        assert found.ids[place, :count].tolist() == ranked
        np.testing.assert_allclose(found.logits[place, :count], raw[place, ranked], atol=TOLERANCE)
        np.testing.assert_allclose(found.model_logits[place, :count], raw[place, ranked], atol=TOLERANCE)
        assert (found.logits[place, count:] == -np.inf).all()


def test_rows_with_and_without_masks_and_adjustments_share_a_pass(
    llama: Tiny, make_engine: Callable[..., Engine]
) -> None:
    engine = make_engine(llama)
    allowed = bits(set(range(0, VOCAB_SIZE, 2)), set(range(1, 9)))
    kinds = [(None, None), (allowed, None), (None, ADJUSTMENT), (allowed, ADJUSTMENT), (None, None)]
    together = engine.candidates([row_of(engine, *kind) for kind in kinds], 6)
    for index, kind in enumerate(kinds):
        alone = engine.candidates([row_of(engine, *kind)], 6)
        assert (alone.unadjusted is None) == all(part is None for part in kind)
        mine = slice(2 * index, 2 * index + 2)
        np.testing.assert_array_equal(together.ids[mine], alone.ids)
        np.testing.assert_allclose(together.logits[mine], alone.logits, atol=TOLERANCE)
        np.testing.assert_allclose(together.model_logits[mine], alone.model_logits, atol=TOLERANCE)


@pytest.mark.parametrize("width", [1, 3, 40])
def test_ties_go_to_the_lowest_id_that_is_allowed(width: int) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randint(0, 3, (8, 40), generator=generator).bfloat16()
    before = logits.clone()
    allowed = (torch.rand((8, 40), generator=generator) < 0.3).numpy()
    allowed[:, 5] = True
    packed = np.packbits(allowed.astype(np.uint8), axis=1, bitorder="little")
    rows = [
        Row(None, ints(0), ints(-1), ints(0), None, packed[index : index + 1] if index % 2 else None)  # type: ignore[arg-type]
        for index in range(8)
    ]
    found = top_candidates(logits, width, None, Mask.of(rows))
    assert torch.equal(logits, before)
    masked = logits.double().numpy().copy()
    masked[1::2][~allowed[1::2]] = -np.inf
    for index in range(8):
        ranked = np.argsort(-masked[index], kind="stable").tolist()
        kept = min(width, int((masked[index] > -np.inf).sum()))
        assert found.ids[index, :kept].tolist() == ranked[:kept]
        assert (found.logits[index, kept:] == -np.inf).all()
    np.testing.assert_array_equal(found.log_normaliser, top_candidates(logits, 1).log_normaliser)


@pytest.mark.parametrize("num_ids", [24, VOCAB_SIZE + 32])
def test_a_mask_may_be_narrower_or_wider_than_the_logits(num_ids: int) -> None:
    """Vocabularies are padded on either side: an id that the tokenizer does not have is never chosen."""
    logits = torch.arange(VOCAB_SIZE, dtype=torch.float32)[None]
    row = Row(None, ints(0), ints(-1), ints(0), None, bits(set(range(num_ids)), width=num_ids))  # type: ignore[arg-type]
    found = top_candidates(logits, 2, None, Mask.of([row]))
    best = min(num_ids, VOCAB_SIZE) - 1
    assert found.ids.tolist() == [[best, best - 1]]


def test_a_mask_of_other_places_is_refused(llama: Tiny, make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(llama)
    with pytest.raises(InvalidArgument, match="does not say what is allowed"):
        engine.candidates([row_of(engine, bits({1}))], 4)


def test_a_draft_of_another_family_is_masked_alike(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(built("gpt2"))
    assert engine.candidates([row_of(engine, bits({11}, {12}))], 1).ids.tolist() == [[11], [12]]
