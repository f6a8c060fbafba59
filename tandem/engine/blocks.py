"""Which KV blocks are taken, and which to hand out next.

Blocks are handed out so that a sequence's blocks tend to form one ascending run, because a run is attended through a
view of the pool while scattered blocks have to be gathered. A sequence that grows gets the block behind its last one
when that is free; a sequence that has to start elsewhere starts in the *middle* of the widest free run, so that the
neighbour in front of that run keeps room to grow as well.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tandem.errors import InvariantBroken, OutOfKV

Blocks = npt.NDArray[np.int64]


class BlockPool:
    """The free list of `num_blocks` equal blocks. It knows no sequences and no tensors."""

    def __init__(self, num_blocks: int) -> None:
        self._taken = np.zeros(num_blocks, dtype=np.bool_)  # [num_blocks]
        self._num_free = num_blocks

    @property
    def num_blocks(self) -> int:
        """How many blocks there are."""
        return len(self._taken)

    @property
    def num_free(self) -> int:
        """How many of them are free."""
        return self._num_free

    def take(self, count: int, *, after: int | None) -> Blocks:
        """Take `count` blocks, the first ones behind block `after` if they are free.

        Returns: block numbers in the order in which the sequence should use them, `[count]`.
        Raises: OutOfKV, with nothing taken, if fewer than `count` are free.
        """
        if count > self._num_free:
            raise OutOfKV(f"{count} KV blocks are needed and {self._num_free} of {self.num_blocks} are free")
        pieces: list[Blocks] = []
        wanted = count
        while wanted > 0:
            start = self._start_of_next_piece(wanted, after)
            stop = start
            while stop < self.num_blocks and stop - start < wanted and not self._taken[stop]:
                stop += 1
            self._taken[start:stop] = True
            pieces.append(np.arange(start, stop))
            wanted -= stop - start
            after = stop - 1
        self._num_free -= count
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)

    def give_back(self, blocks: Blocks) -> None:
        """Free `blocks`. Raises: InvariantBroken if one of them is free already or appears twice."""
        if len(blocks) == 0:
            return
        if not self._taken[blocks].all() or len(np.unique(blocks)) != len(blocks):
            raise InvariantBroken(f"blocks {blocks.tolist()} were given back, but not all of them were taken")
        self._taken[blocks] = False
        self._num_free += len(blocks)

    def check(self, owned: Blocks) -> None:
        """Audit: `owned`, the tables of all sequences end to end, are exactly the blocks that are taken, each once.

        Raises: InvariantBroken.
        """
        times_owned = np.bincount(owned, minlength=self.num_blocks)
        shared = np.flatnonzero(times_owned > 1)
        if len(shared):
            raise InvariantBroken(f"blocks {shared.tolist()} are owned by more than one sequence")
        leaked = np.flatnonzero(self._taken & (times_owned == 0))
        if len(leaked):
            raise InvariantBroken(f"blocks {leaked.tolist()} are taken, but no sequence owns them")
        stolen = np.flatnonzero(~self._taken & (times_owned > 0))
        if len(stolen):
            raise InvariantBroken(f"blocks {stolen.tolist()} are owned by a sequence and free at once")
        if self._num_free != self.num_blocks - int(self._taken.sum()):
            raise InvariantBroken(f"the count of free blocks is {self._num_free} and disagrees with the table")

    def _start_of_next_piece(self, wanted: int, after: int | None) -> int:
        if after is not None and after + 1 < self.num_blocks and not self._taken[after + 1]:
            return after + 1
        edges = np.diff(self._taken.astype(np.int8), prepend=1, append=1)
        starts = np.flatnonzero(edges == -1)  # first block of each free run
        lengths = np.flatnonzero(edges == 1) - starts
        widest = int(lengths.argmax())
        start, spare = int(starts[widest]), int(lengths[widest]) - wanted
        if start == 0 or spare <= 0:
            return start
        return start + (spare + 1) // 2
