"""The block pool's sharing: what is given back is found until it is reused, oldest first, and holders balance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tandem.engine.blocks import BLANKED_AT_ONCE, BlockPool
from tandem.errors import InvariantBroken, OutOfKV


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def published(pool: BlockPool, count: int, first: int = 0) -> np.ndarray:
    blocks = pool.take(count, after=None)
    pool.publish(blocks.tolist(), [key(first + index) for index in range(count)])
    return blocks


def test_blocks_given_back_are_free_and_found() -> None:
    pool = BlockPool(8)
    blocks = published(pool, 3)
    pool.give_back(blocks)
    assert pool.num_free == 8
    found = pool.find([key(0), key(1), key(7), key(2)])
    assert found == blocks[:2].tolist()
    pool.share(np.array(found))
    assert pool.num_free == 6
    pool.check(np.array(found))


def test_a_shared_block_is_free_when_all_have_let_go() -> None:
    pool = BlockPool(4)
    blocks = published(pool, 2)
    pool.share(blocks)
    pool.give_back(blocks)
    assert pool.num_free == 2
    pool.give_back(blocks)
    assert pool.num_free == 4
    with pytest.raises(InvariantBroken):
        pool.give_back(blocks)


def test_the_blocks_given_back_longest_ago_are_reused_first_and_those_at_the_end_of_a_text_before_its_beginning() -> (
    None
):
    size = 4 * BLANKED_AT_ONCE
    pool = BlockPool(size)
    old, new = published(pool, size // 2), published(pool, size // 2, first=size // 2)
    pool.give_back(old)
    pool.give_back(new)
    taken = pool.take(1, after=None)
    kept = size // 2 - BLANKED_AT_ONCE
    assert len(pool.find([key(index) for index in range(size // 2)])) == kept
    assert len(pool.find([key(size // 2 + index) for index in range(size // 2)])) == size // 2
    pool.give_back(taken)
    pool.share(old[:1])  # used again, so the youngest once it is given back
    pool.give_back(old[:1])
    pool.give_back(pool.take(size - 1, after=None))
    assert pool.find([key(0)]) == [int(old[0])]


def test_what_is_blanked_together_makes_a_run() -> None:
    pool = BlockPool(2 * BLANKED_AT_ONCE)
    pool.give_back(published(pool, 2 * BLANKED_AT_ONCE))
    blocks = pool.take(1, after=None)
    for _ in range(BLANKED_AT_ONCE // 2 - 1):
        blocks = np.concatenate((blocks, pool.take(1, after=int(blocks[-1]))))
    assert (np.diff(blocks) == 1).all()


def test_a_key_keeps_the_block_it_has() -> None:
    pool = BlockPool(4)
    first, second = published(pool, 1), published(pool, 1)
    assert pool.find([key(0)]) == first.tolist()
    pool.give_back(second)
    assert pool.find([key(0)]) == first.tolist()
    pool.check(first)


def test_what_is_withdrawn_is_not_found() -> None:
    pool = BlockPool(4)
    blocks = published(pool, 2)
    pool.withdraw(blocks.tolist())
    pool.give_back(blocks)
    assert pool.find([key(0)]) == []
    pool.check(np.empty(0, np.int64))


class Pool(RuleBasedStateMachine):
    """Owners take, publish, share, withdraw and give back; a list of tables says what must hold."""

    NUM_BLOCKS = 40

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(self.NUM_BLOCKS)
        self.tables: list[list[int]] = []
        self.content: dict[int, bytes] = {}  # what was published of blocks that are held, or may still be found
        self.num_keys = 0

    @rule(count=st.integers(0, 12), owner=st.integers(0, 5), new=st.booleans())
    def take(self, count: int, owner: int, new: bool) -> None:
        grown = None if new or not self.tables else self.tables[owner % len(self.tables)]
        free = self.pool.num_free
        after = grown[-1] if grown else None
        if count > free:
            with pytest.raises(OutOfKV):
                self.pool.take(count, after=after)
            assert self.pool.num_free == free
            return
        held = {block for table in self.tables for block in table}
        blocks = self.pool.take(count, after=after).tolist()
        assert len(set(blocks)) == count
        assert not held & set(blocks)
        for block in blocks:  # whatever was in it cannot be found any more
            if (former := self.content.pop(block, None)) is not None:
                assert self.pool.find([former]) == []
        if grown is None:
            self.tables.append(blocks)
        else:
            grown += blocks

    @precondition(lambda self: self.tables)
    @rule(owner=st.integers(0, 5))
    def publish(self, owner: int) -> None:
        blocks = [block for block in self.tables[owner % len(self.tables)] if block not in self.content]
        keys = [key(self.num_keys + index) for index in range(len(blocks))]
        self.num_keys += len(blocks)
        self.pool.publish(blocks, keys)
        self.content.update(zip(blocks, keys, strict=True))
        assert self.pool.find(keys) == blocks

    @precondition(lambda self: self.content)
    @rule(data=st.data())
    def share(self, data: st.DataObject) -> None:
        keys = data.draw(st.lists(st.sampled_from(sorted(self.content.values())), unique=True, max_size=6))
        found = self.pool.find(keys)
        assert [self.content[block] for block in found] == keys[: len(found)]
        self.pool.share(np.array(found, np.int64))
        self.tables.append(found)

    @precondition(lambda self: self.tables)
    @rule(owner=st.integers(0, 5), kept=st.integers(0, 8))
    def give_back(self, owner: int, kept: int) -> None:
        table = self.tables[owner % len(self.tables)]
        self.pool.give_back(np.array(table[kept:], np.int64))
        del table[kept:]

    @precondition(lambda self: self.tables)
    @rule(owner=st.integers(0, 5))
    def withdraw(self, owner: int) -> None:
        table = self.tables[owner % len(self.tables)]
        self.pool.withdraw(table)
        for block in table:
            if (former := self.content.pop(block, None)) is not None:
                assert self.pool.find([former]) == []

    @invariant()
    def holders_balance(self) -> None:
        held = {block for table in self.tables for block in table}
        assert self.pool.num_free == self.NUM_BLOCKS - len(held)
        self.pool.check(np.array([block for table in self.tables for block in table], np.int64))
        for block in held & self.content.keys():
            assert self.pool.find([self.content[block]]) == [block]


TestPool = pytest.mark.filterwarnings("ignore::pytest.PytestCollectionWarning")(Pool.TestCase)
TestPool.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
