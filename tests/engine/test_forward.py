"""Every family against the library's own unbatched forward: pieces, ragged batches, trees, verdicts, rollbacks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tandem.engine.engine import Engine
from tandem.engine.tree_model import Row
from tests.engine.mirror import TOLERANCE, Mirror, chain, feed, ints
from tests.engine.tiny_models import TINY, VOCAB_SIZE, Tiny, tiny

MakeEngine = Callable[..., Engine]


def tokens(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCAB_SIZE, count)


def test_a_prompt_in_pieces(each_model: Tiny, make_engine: MakeEngine) -> None:
    prompt = tokens(31)
    expected = each_model.plain_logits(prompt)
    engine = make_engine(each_model)
    sequence = engine.open()
    pieces = []
    for start, stop in ((0, 13), (13, 14), (14, 25), (25, 31)):
        size = stop - start
        pieces.append(engine.forward([Row(sequence, prompt[start:stop], chain(0, size), np.arange(size))]))
        sequence.settle(list(range(size)))
    torch.testing.assert_close(torch.cat(pieces), expected, rtol=0, atol=TOLERANCE)


def test_pieces_too_long_for_a_rounds_code_beside_short_ones(each_model: Tiny, make_engine: MakeEngine) -> None:
    prompts = [tokens(96, 1), tokens(90, 2)]
    engine = make_engine(each_model, num_kv_blocks=50)
    sequences = [engine.open() for _ in prompts]
    cuts = [(0, 7, 80, 96), (0, 70, 75, 90)]
    pieces: list[list[torch.Tensor]] = [[], []]
    for step in range(3):
        spans = [(cut[step], cut[step + 1]) for cut in cuts]
        rows = [
            Row(sequence, prompt[start:stop], chain(0, stop - start), np.arange(stop - start))
            for sequence, prompt, (start, stop) in zip(sequences, prompts, spans, strict=True)
        ]
        logits = engine.forward(rows)
        for own, part in zip(pieces, logits.split([len(row.token_ids) for row in rows]), strict=True):
            own.append(part)
        for sequence, (start, stop) in zip(sequences, spans, strict=True):
            sequence.settle(range(stop - start))
    for prompt, own in zip(prompts, pieces, strict=True):
        torch.testing.assert_close(torch.cat(own), each_model.plain_logits(prompt), rtol=0, atol=TOLERANCE)


def test_a_prompt_in_pieces_that_are_settled_at_the_end(each_model: Tiny, make_engine: MakeEngine) -> None:
    prompt = tokens(23)
    engine = make_engine(each_model)
    mirror = Mirror(engine)
    for start, stop in ((0, 9), (9, 10), (10, 23)):
        feed(each_model, engine, [(mirror, mirror.row(prompt[start:stop], chain(start, stop - start)))])
    mirror.settle(list(range(23)))
    feed(each_model, engine, [(mirror, mirror.row(ints(5), ints(-1)))])


def test_a_ragged_batch_of_prompts_trees_and_single_tokens(each_model: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(each_model)
    mirrors = [Mirror(engine) for _ in range(4)]
    fed = [(mirror, mirror.row(tokens(n, n), chain(0, n))) for mirror, n in zip(mirrors[:3], (1, 7, 18), strict=True)]
    feed(each_model, engine, fed)
    for mirror in mirrors[:3]:
        mirror.settle(list(range(len(mirror.tokens))))
    feed(
        each_model,
        engine,
        [
            (mirrors[0], mirrors[0].row(tokens(6, 1), ints(-1, 0, 0, -1, 3, 2))),
            (mirrors[1], mirrors[1].row(ints(3), ints(-1))),
            (mirrors[2], mirrors[2].row(tokens(5, 2), ints(-1, -1, -1, 1, 3), ints(4, 0))),
            (mirrors[3], mirrors[3].row(tokens(11, 3), chain(0, 11), ints(10))),
        ],
    )


def test_a_tree_grown_over_several_calls_then_judged(each_model: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(each_model)
    mirror = Mirror(engine)
    feed(each_model, engine, [(mirror, mirror.row(tokens(10), chain(0, 10)))])
    mirror.settle(list(range(10)))
    for round_index in range(3):
        pending = mirror.row(tokens(2, round_index), chain(0, 2))  # a text's unfed end, then its tree
        feed(each_model, engine, [(mirror, pending)])
        feed(each_model, engine, [(mirror, mirror.row(tokens(3, 1), ints(1, 1, 1)))])
        feed(each_model, engine, [(mirror, mirror.row(tokens(3, 2), ints(3, 2, 4)))])
        feed(each_model, engine, [(mirror, mirror.row(tokens(3, 3), ints(7, 5, 5)))])
        mirror.settle([0, 1, 3, 5, 10])
    feed(each_model, engine, [(mirror, mirror.row(ints(9), ints(-1)))])


def test_rolled_back_positions_are_fed_anew(each_model: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(each_model)
    mirror = Mirror(engine)
    feed(each_model, engine, [(mirror, mirror.row(tokens(17), chain(0, 17)))])
    mirror.settle(list(range(17)))
    feed(each_model, engine, [(mirror, mirror.row(tokens(3, 1), ints(-1, 0, 0)))])
    for length in (17, 16, 5, 0):
        mirror.rollback(length)
        engine.check_integrity()
        feed(each_model, engine, [(mirror, mirror.row(tokens(4, length), ints(-1, 0, -1, 1)))])
        mirror.settle([0, 1, 3])


def test_scattered_blocks_are_gathered(each_model: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(each_model, num_kv_blocks=24, block_size=2)
    mirrors = [Mirror(engine) for _ in range(3)]
    for step in range(5):  # sequences that grow in turns, in a pool too small to leave each a run of its own
        fed = [(mirror, mirror.row(tokens(3, step), chain(len(mirror.tokens), 3))) for mirror in mirrors]
        feed(each_model, engine, fed)
    assert any((np.diff(mirror.sequence.block_table) != 1).any() for mirror in mirrors)
    for mirror in mirrors:
        mirror.settle(list(range(14)))
    feed(each_model, engine, [(mirror, mirror.row(tokens(2, 8), ints(-1, -1))) for mirror in mirrors])
    for mirror in mirrors:
        mirror.settle([1])
    feed(each_model, engine, [(mirror, mirror.row(ints(8), ints(-1))) for mirror in mirrors])


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2"])
def test_the_eager_forward_says_the_same(name: str) -> None:
    model = tiny(name, attention="eager")
    engine = model.engine()
    mirror = Mirror(engine)
    feed(model, engine, [(mirror, mirror.row(tokens(12), chain(0, 12)))])
    feed(model, engine, [(mirror, mirror.row(tokens(4), ints(11, 11, 12, 5)))])


@pytest.mark.parametrize("name", sorted(TINY))
def test_bfloat16_stays_close(name: str) -> None:
    model = tiny(name, dtype=torch.bfloat16)
    engine = model.engine()
    sequence = engine.open()
    prompt = tokens(12)
    engine.forward([Row(sequence, prompt[:8], chain(0, 8), ints())])
    sequence.settle(list(range(8)))
    actual = engine.forward([Row(sequence, prompt[8:], chain(0, 4), np.arange(4))])
    expected = model.plain_logits(prompt)[8:]
    assert actual.dtype == torch.bfloat16
    scale = expected.float().std()
    assert (actual.float() - expected.float()).abs().max() < 0.15 * scale


def test_one_candidate_pass_without_wanted_logits(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama)
    sequence = engine.open()
    found = engine.candidates([Row(sequence, tokens(5), chain(0, 5), ints())], 3)
    assert found.ids.shape == (0, 3)
    assert engine.forward([]).shape == (0, VOCAB_SIZE)
