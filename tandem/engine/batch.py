"""What one forward pass feeds and how its tokens attend, worked out once and used by every layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch

from tandem.engine.kv_pool import KVPool, Slots
from tandem.engine.sequence import Sequence
from tandem.engine.tree import UnsettledTree

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """One row of a batch after it was checked."""

    sequence: Sequence
    token_ids: Ints  # [n]
    logits_at: Ints  # [k], among the n tokens
    tree: UnsettledTree  # the sequence's, with these tokens already in it


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

    def __init__(self, kv: KVPool, feeds: list[Feed]) -> None:
        self.kv = kv
        self.feeds = feeds
        self._by_window: dict[int | None, list[RowAttention]] = {}

    @cached_property
    def written(self) -> Slots:
        """Where the packed tokens' keys and values go."""
        ends = ((feed.sequence.num_slots, feed.sequence.length + len(feed.tree)) for feed in self.feeds)
        pieces = [feed.sequence.slots(*end) for feed, end in zip(self.feeds, ends, strict=True)]
        return pieces[0] if len(pieces) == 1 else torch.cat([numbers(piece, self.kv.device) for piece in pieces])

    def token_ids(self) -> Ints:
        """The packed tokens, `[total]`."""
        return np.concatenate([feed.token_ids for feed in self.feeds])

    def logits_at(self) -> Ints:
        """Which of the packed tokens' logits are wanted, `[sum k]`."""
        starts = accumulate([len(feed.token_ids) for feed in self.feeds[:-1]], initial=0)
        return np.concatenate([start + feed.logits_at for start, feed in zip(starts, self.feeds, strict=True)])

    def positions(self) -> Ints:
        """Position ids of the packed tokens, `[total]`."""
        positions = list[int]()
        for feed in self.feeds:
            length = feed.sequence.length
            positions += [length + depth for depth in feed.tree.depths[feed.sequence.num_unsettled :]]
        return np.array(positions)

    def rows_under(self, window: int | None) -> list[RowAttention]:
        """How every row attends in a layer whose tokens see the last `window` positions, their own included."""
        rows = self._by_window.get(window)
        if rows is None:
            rows = self._by_window[window] = []
            start = 0
            for feed in self.feeds:
                stop = start + len(feed.token_ids)
                rows.append(self._attention(feed, start, stop, window))
                start = stop
        return rows

    def _attention(self, feed: Feed, start: int, stop: int, window: int | None) -> RowAttention:
        sequence, tree = feed.sequence, feed.tree
        length, first_new = sequence.length, sequence.num_unsettled
        num_new, num_all = stop - start, length + len(tree)
        depths = np.array(tree.depths)
        first = 0  # what lies before it is out of every token's window
        window_bites = False
        if window is not None:
            first = min(length, max(0, length + int(depths[first_new:].min()) - window + 1))
            window_bites = length + int(depths.max()) - first >= window
        context = sequence.slots(first, num_all)
        if tree.seen is None and not window_bites and (num_new == 1 or num_all == num_new):
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
