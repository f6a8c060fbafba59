"""What rank 0 tells the other ranks of a pass, as one array of integers.

They keep no books: which slots belong to whom, how trees grow and which logits are wanted is rank 0's to know, and
travels with every pass. What they need to know of a tree is its parents; masks and slots they work out themselves.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np
import numpy.typing as npt

from tandem.engine.batch import Feed
from tandem.engine.kv_pool import KVPool
from tandem.engine.sequence import Sequence
from tandem.engine.tree import EMPTY_TREE

Ints = npt.NDArray[np.int64]
Move = tuple[Ints, Ints]
"""Slots that were copied, and onto which, `[n]` each."""


def encode(moves: Many[Move], feeds: Many[Feed]) -> Ints:
    """The moves made since the pass before, in order, then what the pass feeds."""
    parts = [_ints(len(moves), len(feeds))]
    for source, target in moves:
        parts += [_ints(len(source)), source, target]
    for feed in feeds:
        table = feed.sequence.block_table
        parts.append(_ints(len(feed.token_ids), len(feed.logits_at), len(feed.tree), len(table), feed.sequence.length))
        parts += [feed.token_ids, feed.logits_at, _ints(*feed.tree.parents), table]
    return np.concatenate(parts)


def decode(message: Ints, kv: KVPool) -> tuple[list[Move], list[Feed]]:
    """The moves to repeat in `kv`, and then the feeds of the pass, whose sequences lie in it."""
    reader = _Reader(message)
    num_moves, num_feeds = reader.take(2).tolist()
    moves = []
    for _ in range(num_moves):
        count = int(reader.take(1)[0])
        moves.append((reader.take(count), reader.take(count)))
    return moves, [_feed(reader, kv) for _ in range(num_feeds)]


class _Reader:
    def __init__(self, message: Ints) -> None:
        self._message = message
        self._at = 0

    def take(self, count: int) -> Ints:
        self._at += count
        return self._message[self._at - count : self._at]


def _feed(reader: _Reader, kv: KVPool) -> Feed:
    num_new, num_wanted, num_nodes, num_blocks, length = reader.take(5).tolist()
    token_ids, logits_at = reader.take(num_new), reader.take(num_wanted)
    parents, table = reader.take(num_nodes).tolist(), reader.take(num_blocks)
    fed_before = EMPTY_TREE.extended(parents[: num_nodes - num_new])
    sequence = Sequence.as_told(kv, table, length, fed_before)
    return Feed(sequence, token_ids, logits_at, fed_before.extended(parents[num_nodes - num_new :]))


def _ints(*values: int) -> Ints:
    return np.array(values, dtype=np.int64)
