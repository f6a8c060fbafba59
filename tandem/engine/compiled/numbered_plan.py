"""A batch plan as one tensor of numbers, which is what the compiled attention operator reads.

Two numbers for all (rows, slots of a block), seven a row (its first token and the one behind its last in the batch,
settled positions, unsettled nodes, and where its blocks, depths and ancestors begin), then those. For a chain the
last two are 0, and stand nowhere. Ancestors are bits: for each new token, as many words as its nodes fill.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from tandem.engine.batch import BatchPlan, Feed

Ints = npt.NDArray[np.int64]

NUM_HEADER = 2
NUM_ROW = 7
WORD_BITS = 64


def numbered(plan: BatchPlan) -> torch.Tensor:
    """The plan's rows, `[numbers]`, int64."""
    header = [len(plan.feeds), plan.kv.block_size]
    pieces: list[Ints] = []
    end = NUM_HEADER + NUM_ROW * len(plan.feeds)
    first = 0
    for feed in plan.feeds:
        tree, stop = feed.tree, first + len(feed.token_ids)
        blocks = feed.sequence.block_table
        header += (first, stop, feed.sequence.length, len(tree), end)
        pieces.append(blocks)
        end += len(blocks)
        if tree.ancestors is None:
            header += (0, 0)
        else:
            seen = _seen(feed)
            header += (end, end + len(tree.depths))
            pieces += (tree.depths, seen)
            end += len(tree.depths) + len(seen)
        first = stop
    return torch.from_numpy(np.concatenate([np.array(header), *pieces]))


def _seen(feed: Feed) -> Ints:
    """Bits of the nodes that each new token sees, `[new tokens * words]`."""
    seen = feed.tree.ancestor_rows(len(feed.tree) - len(feed.token_ids))
    num_bits = -(-seen.shape[1] // WORD_BITS) * WORD_BITS
    padded = np.zeros((len(seen), num_bits), dtype=np.bool_)
    padded[:, : seen.shape[1]] = seen
    return np.packbits(padded, axis=1, bitorder="little").view(np.int64).reshape(-1)
