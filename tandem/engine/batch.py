"""What one forward pass feeds and how its tokens attend, worked out once and used by every layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tandem.engine.kv_pool import KVPool, Slots
from tandem.engine.sequence import Row
from tandem.engine.tree import UnsettledTree

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RowAttention:
    """How one row's tokens attend under one window.

    `mask` is added to the scores, `[1, 1, groups * n, context]`, the query heads of a KV head laid end to end; None
    means that nothing is masked, or that `is_causal` says it all.
    """

    start: int  # the row's tokens in the packed batch
    stop: int
    context: Slots
    mask: torch.Tensor | None
    is_causal: bool


class BatchPlan:
    """Slots, masks and positions of one forward pass; made after the blocks are reserved, dropped after the pass."""

    def __init__(self, kv: KVPool, rows: list[Row], trees: list[UnsettledTree]) -> None:
        """`trees[i]` is row i's tree with the row's tokens already in it."""
        self.kv = kv
        self._rows = rows
        self._trees = trees
        self._by_window: dict[int | None, list[RowAttention]] = {}
        pieces = [row.sequence.slots(row.sequence.num_slots, row.sequence.length + len(tree)) for row, tree in self]
        self.written = pieces[0] if len(pieces) == 1 else torch.cat([numbers(piece, kv.device) for piece in pieces])

    def __iter__(self) -> zip[tuple[Row, UnsettledTree]]:
        return zip(self._rows, self._trees, strict=True)

    def token_ids(self) -> Ints:
        """The packed tokens, `[total]`."""
        return np.concatenate([row.token_ids for row in self._rows])

    def logits_at(self) -> Ints:
        """Which of the packed tokens' logits are wanted, `[sum k]`."""
        starts = np.cumsum([0] + [len(row.token_ids) for row in self._rows[:-1]])
        return np.concatenate([start + row.logits_at for start, row in zip(starts, self._rows, strict=True)])

    def positions(self) -> Ints:
        """Position ids of the packed tokens, `[total]`."""
        return np.concatenate([row.sequence.length + tree.depths[row.sequence.num_unsettled :] for row, tree in self])

    def rows_under(self, window: int | None) -> list[RowAttention]:
        """How every row attends in a layer whose tokens see the last `window` positions, their own included."""
        rows = self._by_window.get(window)
        if rows is None:
            rows = self._by_window[window] = []
            start = 0
            for row, tree in self:
                stop = start + len(row.token_ids)
                rows.append(self._attention(row, tree, start, stop, window))
                start = stop
        return rows

    def _attention(self, row: Row, tree: UnsettledTree, start: int, stop: int, window: int | None) -> RowAttention:
        sequence = row.sequence
        length, first_new = sequence.length, sequence.num_unsettled
        num_new, num_all = stop - start, length + len(tree)
        depths = tree.depths
        first = 0  # what lies before it is out of every token's window
        window_bites = False
        if window is not None:
            first = min(length, max(0, length + int(depths[first_new:].min()) - window + 1))
            window_bites = length + int(depths.max()) - first >= window
        context = sequence.slots(first, num_all)
        if tree.ancestors is None and not window_bites and (num_new == 1 or num_all == num_new):
            return RowAttention(start, stop, context, None, is_causal=num_new > 1)

        unseen = np.zeros((num_new, num_all - first), dtype=np.bool_)
        np.logical_not(tree.ancestor_rows(first_new), out=unseen[:, length - first :])
        if window_bites:
            assert window is not None
            context_positions = np.concatenate((np.arange(first, length), length + depths))
            unseen |= context_positions <= (length + depths[first_new:, None] - window)
        if not unseen.any():
            return RowAttention(start, stop, context, None, is_causal=False)
        mask = torch.zeros(unseen.shape, dtype=self.kv.dtype)
        mask.masked_fill_(torch.from_numpy(unseen), -torch.inf)
        folded = mask.to(self.kv.device).repeat(self.kv.shape.num_groups, 1)
        return RowAttention(start, stop, context, folded[None, None], is_causal=False)


def numbers(slots: Slots, device: torch.device) -> torch.Tensor:
    """The slots' numbers, `[n]`."""
    return slots if isinstance(slots, torch.Tensor) else torch.arange(slots.start, slots.stop, device=device)
