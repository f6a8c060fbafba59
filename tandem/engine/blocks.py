"""Which KV blocks are held, which can be found by their content, and which to hand out next.

A block is *held* by any number of sequences. One that nobody holds is free: *cached* while it has a key under which its
content can be found, else *blank*. Free blocks are handed out blank ones first; when those run out, cached ones are
made blank, those given back longest ago first.

Blocks are handed out so that a sequence's blocks tend to form one ascending run, because a run is attended through a
view of the pool while scattered blocks have to be gathered. A sequence that grows gets the block behind its last one
when that is blank; a sequence that has to start elsewhere starts in the *middle* of the widest blank run, so that the
neighbour in front of that run keeps room to grow as well.
"""

from __future__ import annotations

from collections import OrderedDict, abc

import numpy as np
import numpy.typing as npt

from tandem.errors import InvariantBroken, OutOfKV

Blocks = npt.NDArray[np.int64]

BLANKED_AT_ONCE = 16
"""Cached blocks are made blank so many at a time at least: one by one they would be handed out in the order in which
texts lost them, which is no run."""


class BlockPool:
    """The state of `num_blocks` equal blocks. It knows no sequences and no tensors."""

    def __init__(self, num_blocks: int) -> None:
        self._holders = np.zeros(num_blocks, dtype=np.int64)  # [num_blocks]
        self._blank = np.ones(num_blocks, dtype=np.bool_)  # [num_blocks]
        self._num_blank = num_blocks
        self._cached: OrderedDict[int, None] = OrderedDict()  # given back longest ago first
        self._found: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}

    @property
    def num_blocks(self) -> int:
        """How many blocks there are."""
        return len(self._holders)

    @property
    def num_free(self) -> int:
        """How many of them nobody holds."""
        return self._num_blank + len(self._cached)

    def take(self, count: int, *, after: int | None) -> Blocks:
        """Take `count` blocks for one holder, the first ones behind block `after` if they are blank.

        Returns: block numbers in the order in which the sequence should use them, `[count]`.
        Raises: OutOfKV, with nothing taken, if fewer than `count` are free.
        """
        if count > self.num_free:
            raise OutOfKV(f"{count} KV blocks are needed and {self.num_free} of {self.num_blocks} are free")
        if count > self._num_blank:
            self._blank_some(count - self._num_blank)
        pieces: list[Blocks] = []
        wanted = count
        while wanted > 0:
            start = self._start_of_next_piece(wanted, after)
            stop = start
            while stop < self.num_blocks and stop - start < wanted and self._blank[stop]:
                stop += 1
            self._blank[start:stop] = False
            self._holders[start:stop] = 1
            pieces.append(np.arange(start, stop))
            wanted -= stop - start
            after = stop - 1
        self._num_blank -= count
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)

    def give_back(self, blocks: Blocks) -> None:
        """One holder of each of `blocks` lets go; they stay findable as long as nobody needs the room.

        Raises: InvariantBroken if one of them is free already or appears twice.
        """
        if len(blocks) == 0:
            return
        if not self._holders[blocks].all() or len(np.unique(blocks)) != len(blocks):
            raise InvariantBroken(f"blocks {blocks.tolist()} were given back, but not all of them were taken")
        self._holders[blocks] -= 1
        # From the end: a block is of no use without those before it, so those are kept longest.
        for block in blocks[self._holders[blocks] == 0][::-1].tolist():
            if block in self._keys:
                self._cached[block] = None
            else:
                self._make_blank(block)

    def find(self, keys: abc.Iterable[bytes]) -> list[int]:
        """The blocks of the first `keys`, up to one that is not known. They are not held by that."""
        found: list[int] = []
        for key in keys:
            block = self._found.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def share(self, blocks: Blocks) -> None:
        """One holder more for each of `blocks`, which `find` has found just now."""
        for block in blocks.tolist():
            self._cached.pop(block, None)
        self._holders[blocks] += 1

    def publish(self, blocks: abc.Iterable[int], keys: abc.Iterable[bytes]) -> None:
        """Makes held blocks findable, whose content never changes from now on; a key that is known keeps its block."""
        for block, key in zip(blocks, keys, strict=True):
            if key not in self._found and block not in self._keys:
                self._found[key] = block
                self._keys[block] = key

    def withdraw(self, blocks: abc.Iterable[int]) -> None:
        """Held blocks can be found no more."""
        for block in blocks:
            if (key := self._keys.pop(block, None)) is not None:
                del self._found[key]

    def key_of(self, block: int) -> bytes | None:
        """Under which key a block is found."""
        return self._keys.get(block)

    def check(self, owned: Blocks) -> None:
        """Audit: `owned`, the tables of all sequences end to end, are the blocks that are held, as often as they are.

        Raises: InvariantBroken.
        """
        times_owned = np.bincount(owned, minlength=self.num_blocks)
        leaked = np.flatnonzero(self._holders > times_owned)
        if len(leaked):
            raise InvariantBroken(f"blocks {leaked.tolist()} are held more often than sequences own them")
        stolen = np.flatnonzero(self._holders < times_owned)
        if len(stolen):
            raise InvariantBroken(f"blocks {stolen.tolist()} are owned by more sequences than hold them")
        cached = np.zeros(self.num_blocks, dtype=np.bool_)
        cached[list(self._cached)] = True
        wrong = np.flatnonzero((self._holders > 0).astype(np.int64) + self._blank + cached != 1)
        if len(wrong):
            raise InvariantBroken(f"blocks {wrong.tolist()} are not one of held, cached and blank")
        if self._num_blank != int(self._blank.sum()):
            raise InvariantBroken(f"the count of blank blocks is {self._num_blank} and disagrees with the table")
        if {block: key for key, block in self._found.items()} != self._keys:
            raise InvariantBroken("keys and blocks do not name each other")
        unnamed, blank = self._cached.keys() - self._keys.keys(), [block for block in self._keys if self._blank[block]]
        if unnamed or blank:
            raise InvariantBroken(f"blocks {sorted(unnamed)} are cached without a key, {blank} have one and are blank")

    def _blank_some(self, missing: int) -> None:
        for _ in range(min(max(missing, BLANKED_AT_ONCE), len(self._cached))):
            block, _ = self._cached.popitem(last=False)
            del self._found[self._keys.pop(block)]
            self._make_blank(block)

    def _make_blank(self, block: int) -> None:
        self._blank[block] = True
        self._num_blank += 1

    def _start_of_next_piece(self, wanted: int, after: int | None) -> int:
        if after is not None and after + 1 < self.num_blocks and self._blank[after + 1]:
            return after + 1
        edges = np.diff(self._blank.astype(np.int8), prepend=0, append=0)
        starts = np.flatnonzero(edges == 1)  # first block of each blank run
        lengths = np.flatnonzero(edges == -1) - starts
        widest = int(lengths.argmax())
        start, spare = int(starts[widest]), int(lengths[widest]) - wanted
        if start == 0 or spare <= 0:
            return start
        return start + (spare + 1) // 2
