"""A batch plan as one tensor of numbers, which is what the compiled attention operator reads.

Two numbers for all (rows, slots of a block), seven a row (its first token and the one behind its last in the batch,
settled positions, unsettled nodes, and where its blocks, depths and ancestors begin), then those. For a chain the
last two are 0, and stand nowhere. Ancestors are bits: for each new token, as many words as its nodes fill.
"""

from __future__ import annotations

import numpy as np
import torch

from tandem.engine.batch import BatchPlan
from tandem.engine.tree import UnsettledTree

NUM_HEADER = 2
NUM_ROW = 7
WORD_BITS = 64


def numbered(plan: BatchPlan) -> torch.Tensor:
    """The plan's rows, `[numbers]`, int64."""
    header = [len(plan.feeds), plan.kv.block_size]
    rest: list[int] = []
    begin = NUM_HEADER + NUM_ROW * len(plan.feeds)
    first = 0
    for feed in plan.feeds:
        tree, num_new = feed.tree, len(feed.token_ids)
        header += (first, first + num_new, feed.sequence.length, len(tree), begin + len(rest))
        rest += feed.sequence.block_table.tolist()
        if tree.seen is None:
            header += (0, 0)
        else:
            header += (begin + len(rest), begin + len(rest) + len(tree))
            rest += tree.depths
            rest += _words(tree, len(tree) - num_new)
        first += num_new
    return torch.from_numpy(np.array(header + rest))


def _words(tree: UnsettledTree, first: int) -> list[int]:
    """What nodes `first` and on see, each as so many numbers of 64 bits, the lowest bits first."""
    assert tree.seen is not None
    shifts = range(0, len(tree), WORD_BITS)
    words = [seen >> shift & 0xFFFF_FFFF_FFFF_FFFF for seen in tree.seen[first:] for shift in shifts]
    return [word - (word >> 63 << 64) for word in words]  # as numbers with a sign
