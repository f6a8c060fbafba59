"""The block pool: runs where possible, errors that change nothing, and an audit that notices every kind of damage."""

from __future__ import annotations

import numpy as np
import pytest

from tandem.engine.blocks import BlockPool
from tandem.errors import InvariantBroken, OutOfKV


def test_a_growing_owner_keeps_one_run() -> None:
    pool = BlockPool(32)
    first = pool.take(2, after=None)
    second = pool.take(1, after=None)
    for _ in range(8):
        first = np.concatenate((first, pool.take(1, after=int(first[-1]))))
        second = np.concatenate((second, pool.take(1, after=int(second[-1]))))
    assert (np.diff(first) == 1).all()
    assert (np.diff(second) == 1).all()
    pool.check(np.concatenate((first, second)))


def test_scattered_blocks_are_used_up_to_the_last() -> None:
    pool = BlockPool(9)
    everything = pool.take(9, after=None)
    pool.give_back(everything[::2])
    rest = pool.take(5, after=None)
    assert sorted(rest) == [0, 2, 4, 6, 8]
    assert pool.num_free == 0
    pool.check(np.arange(9))


def test_too_few_blocks_take_nothing() -> None:
    pool = BlockPool(4)
    taken = pool.take(3, after=None)
    with pytest.raises(OutOfKV, match="2 KV blocks are needed and 1 of 4 are free"):
        pool.take(2, after=int(taken[-1]))
    assert pool.num_free == 1
    pool.check(taken)


def test_a_block_is_given_back_once() -> None:
    pool = BlockPool(4)
    taken = pool.take(2, after=None)
    pool.give_back(taken[:1])
    for wrong in (taken[:1], np.array([3]), np.array([taken[1], taken[1]])):
        with pytest.raises(InvariantBroken):
            pool.give_back(wrong)
    pool.check(taken[1:])


@pytest.mark.parametrize(
    ("owned", "complaint"),
    [([0, 1, 1], "by more sequences"), ([0], "more often than"), ([0, 1, 2], "by more sequences")],
)
def test_the_audit_notices(owned: list[int], complaint: str) -> None:
    pool = BlockPool(4)
    pool.take(2, after=None)
    with pytest.raises(InvariantBroken, match=complaint):
        pool.check(np.array(owned))
