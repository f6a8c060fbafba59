"""What the engine refuses leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tandem.engine.engine import Engine
from tandem.engine.tree_model import Row
from tandem.errors import InvalidArgument, InvariantBroken, OutOfKV
from tests.engine.mirror import Mirror, chain, feed, ints
from tests.engine.tiny_models import MAX_POSITIONS, VOCAB_SIZE, Tiny

MakeEngine = Callable[..., Engine]


def test_out_of_kv_leaves_every_sequence_intact(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama, num_kv_blocks=8, block_size=4)
    one, other = Mirror(engine), Mirror(engine)
    feed(llama, engine, [(one, one.row(np.arange(10), chain(0, 10))), (other, other.row(np.arange(9), chain(0, 9)))])
    one.settle(list(range(10)))
    usage = engine.kv_usage
    rows = [
        Row(one.sequence, np.arange(8), chain(0, 8), ints(7)),
        Row(other.sequence, np.arange(8), chain(9, 8), ints(7)),
    ]
    with pytest.raises(OutOfKV):
        engine.forward(rows)
    engine.check_integrity()
    assert engine.kv_usage == usage
    assert (one.sequence.length, one.sequence.num_unsettled) == (10, 0)
    assert (other.sequence.length, other.sequence.num_unsettled) == (0, 9)
    feed(llama, engine, [(one, one.row(ints(1, 2), ints(-1, -1))), (other, other.row(ints(1), ints(4)))])
    engine.close(other.sequence)
    feed(llama, engine, [(one, one.row(np.arange(8), chain(2, 8)))])  # the retry after closing something


def test_a_pass_that_fails_midway_is_undone(
    llama: Tiny, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(llama)
    mirror = Mirror(engine)
    feed(llama, engine, [(mirror, mirror.row(np.arange(5), chain(0, 5)))])

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(llama.loaded.model, "forward", fail)
        with pytest.raises(RuntimeError, match="no memory"):
            engine.forward([Row(mirror.sequence, np.arange(9), chain(5, 9), ints(8))])
    engine.check_integrity()
    feed(llama, engine, [(mirror, mirror.row(ints(3, 4), ints(4, 1)))])


@pytest.mark.parametrize(
    ("token_ids", "parents", "logits_at", "complaint"),
    [
        (ints(1, VOCAB_SIZE), ints(-1, 0), ints(), f"row 1: token id {VOCAB_SIZE}"),
        (ints(-1), ints(-1), ints(), "row 1: token id -1"),
        (ints(), ints(), ints(), "row 1: 0 tokens"),
        (ints(1, 2), ints(-1), ints(), "row 1: 2 tokens and 1 parents"),
        (ints(1, 2), ints(-1, 1), ints(), "row 1: node 1 has parent 1"),
        (ints(1, 2), ints(-2, 0), ints(), "row 1: node 0 has parent -2"),
        (ints(1, 2), ints(-1, 0), ints(2), "row 1: logits_at"),
        (ints(1, 2), ints(-1, 0), ints(-1), "row 1: logits_at"),
        (np.zeros(MAX_POSITIONS + 1, np.int64), chain(0, MAX_POSITIONS + 1), ints(), "row 1: 97 positions"),
    ],
)
def test_rows_that_cannot_be_fed_are_named(
    llama: Tiny,
    make_engine: MakeEngine,
    token_ids: np.ndarray,
    parents: np.ndarray,
    logits_at: np.ndarray,
    complaint: str,
) -> None:
    engine = make_engine(llama)
    good, bad = engine.open(), engine.open()
    with pytest.raises(InvalidArgument, match=complaint):
        engine.forward([Row(good, ints(1), ints(-1), ints(0)), Row(bad, token_ids, parents, logits_at)])
    assert engine.kv_usage == 0.0
    assert good.num_unsettled == 0


def test_the_last_position_can_be_used(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama)
    mirror = Mirror(engine)
    prompt = np.arange(MAX_POSITIONS) % VOCAB_SIZE
    feed(llama, engine, [(mirror, mirror.row(prompt, chain(0, MAX_POSITIONS), ints(MAX_POSITIONS - 1)))])


def test_a_sequence_has_one_row(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama)
    sequence = engine.open()
    row = Row(sequence, ints(1), ints(-1), ints(0))
    with pytest.raises(InvalidArgument, match="one row only"):
        engine.forward([row, row])


def test_closed_and_foreign_sequences(llama: Tiny, make_engine: MakeEngine) -> None:
    engine, elsewhere = make_engine(llama), make_engine(llama)
    sequence = engine.open()
    engine.forward([Row(sequence, ints(1, 2), ints(-1, 0), ints())])
    elsewhere.close(sequence)
    assert sequence.num_unsettled == 2
    with pytest.raises(InvalidArgument, match="not open in this engine"):
        elsewhere.forward([Row(sequence, ints(1), ints(1), ints())])
    engine.close(sequence)
    engine.close(sequence)
    assert engine.kv_usage == 0.0
    for use in (lambda: sequence.settle([0]), lambda: sequence.rollback(0)):
        with pytest.raises(InvalidArgument, match="closed"):
            use()


@pytest.mark.parametrize("path", [[1], [0, 2], [0, 1, 1], [0, 3], [1, 0], [-1], [9]])
def test_what_is_no_path_is_not_settled(llama: Tiny, make_engine: MakeEngine, path: list[int]) -> None:
    engine = make_engine(llama)
    mirror = Mirror(engine)
    feed(llama, engine, [(mirror, mirror.row(ints(1, 2, 3, 4), ints(-1, 0, -1, 2)))])
    with pytest.raises(InvalidArgument):
        mirror.sequence.settle(path)
    assert mirror.sequence.num_unsettled == 4
    mirror.settle([2, 3])
    feed(llama, engine, [(mirror, mirror.row(ints(1), ints(-1)))])


def test_rollback_goes_back_only(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama)
    sequence = engine.open()
    for length in (1, -1):
        with pytest.raises(InvalidArgument, match="cannot roll back"):
            sequence.rollback(length)


def test_the_audit_notices_a_table_that_does_not_fit(llama: Tiny) -> None:
    engine = Engine(llama.loaded, num_kv_blocks=64, block_size=4)  # not one that is audited after the test
    sequence = engine.open()
    engine.forward([Row(sequence, np.arange(9), chain(0, 9), ints())])
    sequence.length += 4
    with pytest.raises(InvariantBroken, match="13 tokens lie in 3 blocks"):
        engine.check_integrity()
    sequence.length -= 4
    sequence.close()
    with pytest.raises(InvariantBroken, match="closed behind"):
        engine.check_integrity()


def test_a_verdict_moves_only_the_slots_out_of_place(
    llama: Tiny, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(llama)
    mirror = Mirror(engine)
    feed(llama, engine, [(mirror, mirror.row(np.arange(20), chain(0, 20)))])
    moved: list[int] = []
    kv = mirror.sequence._kv
    move = kv.move
    monkeypatch.setattr(kv, "move", lambda source, target: (moved.append(len(source)), move(source, target)))
    mirror.settle(list(range(20)))
    assert moved == []
    feed(llama, engine, [(mirror, mirror.row(np.arange(7), ints(-1, -1, 0, 1, 2, 3, 5)))])
    mirror.settle([1, 3, 5, 6])
    assert moved == [4]
    feed(llama, engine, [(mirror, mirror.row(np.arange(4), ints(-1, 0, 0, 2)))])
    mirror.settle([0, 2, 3])
    assert moved == [4, 2]
    feed(llama, engine, [(mirror, mirror.row(ints(5), ints(-1)))])
    assert torch.isfinite(engine.forward([Row(mirror.sequence, ints(5), ints(0), ints(0))])).all()
