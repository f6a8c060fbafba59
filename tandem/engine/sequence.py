"""A sequence: which slots of the KV pool hold its tokens, and which of them are settled."""

from __future__ import annotations

from collections import abc

import numpy as np
import numpy.typing as npt
import torch

from tandem.engine.kv_pool import KVPool, Slots
from tandem.engine.prefix import Prefix
from tandem.engine.tree import EMPTY_TREE, UnsettledTree
from tandem.errors import InvalidArgument, InvariantBroken

Ints = npt.NDArray[np.int64]


class Sequence:
    """Positions 0..length-1 are settled; behind them lie the unsettled nodes, in the order in which they were fed.

    Invariants between calls: the block table covers exactly `length + num_unsettled` slots, rounded up to blocks; a
    block that is full of settled positions is never written to, since others may share it.
    Sequences are made by `Engine.open` and are not safe to share between threads.
    """

    __slots__ = ("_blocks", "_is_counted", "_is_one_run", "_kv", "_node_ids", "_prefix", "is_open", "length", "tree")

    def __init__(self, kv: KVPool, cache_salt: bytes | None) -> None:
        """Full blocks are shared with sequences of the same salt; None: with nobody."""
        self._kv = kv
        self._prefix = None if cache_salt is None else Prefix(cache_salt, kv.block_size)
        self._node_ids: list[Ints] = []  # of the unsettled nodes, piece by piece
        self._blocks: Ints = np.empty(0, dtype=np.int64)
        self._is_one_run = True
        self._is_counted = False  # among what is looked for
        self.length = 0
        self.tree: UnsettledTree = EMPTY_TREE
        self.is_open = True

    @classmethod
    def as_told(cls, kv: KVPool, block_table: Ints, length: int, tree: UnsettledTree) -> Sequence:
        """Another rank's sequence as it stands now, for one pass: its blocks are that rank's to give and to take."""
        sequence = cls(kv, cache_salt=None)
        sequence._set_blocks(block_table)
        sequence.length, sequence.tree = length, tree
        return sequence

    @property
    def num_unsettled(self) -> int:
        """Nodes fed since the last settle."""
        return len(self.tree)

    @property
    def num_slots(self) -> int:
        """Slots that hold a token, settled or not."""
        return self.length + len(self.tree)

    @property
    def block_table(self) -> Ints:
        """Block numbers in the order of positions, `[blocks]`; not to be written to."""
        return self._blocks

    def settle(self, path: abc.Sequence[int] | Ints) -> None:
        """Keep the unsettled nodes on `path` (ascending, from a root's child to a node), drop all the others.

        Only the slots of accepted nodes that are not in place already are copied. An empty path drops all nodes.
        Raises: InvalidArgument, with nothing changed, if `path` is not such a path.
        """
        self._require_open()
        nodes = path.tolist() if isinstance(path, np.ndarray) else list(path)
        self.tree.check_path(nodes)
        if nodes != list(range(len(nodes))):
            moved = np.array([(node, place) for place, node in enumerate(nodes) if node != place])
            source, target = self._slots_at(self.length + moved.T)
            self._kv.move(source, target)
        self.length += len(nodes)
        if self._prefix is not None and nodes:
            self._publish(self._prefix, np.concatenate(self._node_ids)[nodes])
        self._forget_nodes()
        self.trim()

    def rollback(self, length: int) -> None:
        """Forget everything behind the first `length` settled positions, unsettled nodes included.

        Where that leaves a part of a full block and blocks are shared, the part is forgotten too: what would be written
        behind it might be written into what others read.
        Raises: InvalidArgument if fewer than `length` positions are settled.
        """
        self._require_open()
        if not 0 <= length <= self.length:
            raise InvalidArgument(f"cannot roll back to {length} positions: {self.length} are settled")
        self.length = length if self._prefix is None else self._prefix.cut(length)
        self._is_counted = self._is_counted and self.length > 0
        self._forget_nodes()
        self.trim()

    def adopt(self, text: abc.Sequence[int], stop: int) -> int:
        """Share the blocks of others that hold the KV of `text`, up to `stop`; the settled positions are its beginning.

        Unsettled nodes are dropped where anything is found. Returns: how many positions more are settled.
        """
        self._require_open()
        if self._prefix is None:
            return 0
        if not self._is_counted:
            self._kv.prefix_counts.queries += stop - self.length
            self._is_counted = True
        found = self._kv.blocks.find(self._prefix.following(text, stop))
        gained = len(found) * self._kv.block_size - self._prefix.num_over
        if gained <= 0:
            return 0
        shared = np.array(found, dtype=np.int64)
        self._kv.blocks.share(shared)
        # The block that is not full is replaced by one that is.
        self.length -= self._prefix.num_over
        self._forget_nodes()
        self.trim()
        self._set_blocks(np.concatenate((self._blocks, shared)))
        self.length += len(found) * self._kv.block_size
        self._prefix.append(np.array(text[self.length - gained : self.length], np.int64))
        self._kv.prefix_counts.hits += gained
        return gained

    def next_key(self, text: abc.Sequence[int]) -> bytes | None:
        """The key of the block that reading on in `text` fills next; None where it is never full, or never shared."""
        return None if self._prefix is None else next(self._prefix.following(text, len(text)), None)

    def distrust(self) -> None:
        """Forget everything, and let nobody find it: what was computed may be wrong."""
        self._kv.blocks.withdraw(self._blocks.tolist())
        self.rollback(0)

    # What follows is for the engine.

    def num_blocks_missing(self, num_new: int) -> int:
        """How many blocks `num_new` further tokens need."""
        return self._kv.num_blocks_for(self.num_slots + num_new) - len(self._blocks)

    def grow(self, tree: UnsettledTree, token_ids: Ints) -> None:
        """Note that `token_ids`, `[n]`, were fed, which are the last nodes of `tree`."""
        self.tree = tree
        if self._prefix is not None:
            self._node_ids.append(token_ids)

    def reserve(self, num_new: int) -> None:
        """Take the blocks for `num_new` further tokens. Raises: OutOfKV, with nothing changed."""
        missing = self.num_blocks_missing(num_new)
        if missing > 0:
            last = int(self._blocks[-1]) if len(self._blocks) else None
            self._set_blocks(np.concatenate((self._blocks, self._kv.blocks.take(missing, after=last))))

    def trim(self) -> None:
        """Give back the blocks behind the last token."""
        num_needed = self._kv.num_blocks_for(self.num_slots)
        if num_needed < len(self._blocks):
            self._kv.blocks.give_back(self._blocks[num_needed:])
            self._set_blocks(self._blocks[:num_needed])

    def close(self) -> None:
        """Give back everything; idempotent."""
        self.length = 0 if self._prefix is None else self._prefix.cut(0)
        self._forget_nodes()
        self.trim()
        self.is_open = False

    def slots(self, start: int, stop: int) -> Slots:
        """Where tokens `start` to `stop` (by position, unsettled nodes counted on) lie in the pool."""
        if self._is_one_run:
            origin = int(self._blocks[0]) * self._kv.block_size
            return slice(origin + start, origin + stop)
        return torch.from_numpy(self._slots_at(np.arange(start, stop))).to(self._kv.device)

    def check(self) -> None:
        """Raises: InvariantBroken if table, lengths and tree do not fit each other."""
        if len(self._blocks) != self._kv.num_blocks_for(self.num_slots):
            raise InvariantBroken(f"{self.num_slots} tokens lie in {len(self._blocks)} blocks of {self._kv.block_size}")
        if self._is_one_run != is_one_run(self._blocks):
            raise InvariantBroken(f"block table {self._blocks.tolist()} is marked wrongly as a run or not a run")
        if not self.is_open and self.num_slots:
            raise InvariantBroken("a closed sequence holds tokens")
        if len(np.unique(self._blocks)) != len(self._blocks):
            raise InvariantBroken(f"block table {self._blocks.tolist()} has a block twice")
        if self._prefix is not None:
            self._check_prefix(self._prefix)

    def _require_open(self) -> None:
        if not self.is_open:
            raise InvalidArgument("the sequence is closed")

    def _forget_nodes(self) -> None:
        self.tree = EMPTY_TREE
        self._node_ids.clear()

    def _publish(self, prefix: Prefix, token_ids: Ints) -> None:
        """Note settled tokens, `[n]`, and let others find the blocks that they fill."""
        first = prefix.num_full
        keys = prefix.append(token_ids)
        self._kv.blocks.publish(self._blocks[first : first + len(keys)].tolist(), keys)

    def _check_prefix(self, prefix: Prefix) -> None:
        if (prefix.num_full, prefix.num_over) != divmod(self.length, self._kv.block_size):
            raise InvariantBroken(f"{self.length} positions are settled, of {prefix.num_full} blocks and the rest")
        if sum(len(piece) for piece in self._node_ids) != len(self.tree):
            raise InvariantBroken("the tokens of unsettled nodes are not as many as the nodes")
        for block, key in zip(self._blocks.tolist(), prefix.keys, strict=False):
            if (published := self._kv.blocks.key_of(block)) not in (None, key):
                raise InvariantBroken(f"block {block} is found under {published!r} and holds {key!r}")

    def _set_blocks(self, blocks: Ints) -> None:
        self._blocks = blocks
        self._is_one_run = is_one_run(blocks)

    def _slots_at(self, tokens: Ints) -> Ints:
        size = self._kv.block_size
        return self._blocks[tokens // size] * size + tokens % size


def is_one_run(blocks: Ints) -> bool:
    """Whether the blocks lie one behind the other in memory."""
    return bool((blocks[1:] - blocks[:-1] == 1).all())
