"""Attention of all rows of a pass at once, by torch's FlexAttention, against the engine's, which goes row by row.

    python -m benchmarks.packed_attention --device cuda [--rows 1 4 16 32] [--context 1024] [--nodes 5]

An experiment for GPUs, to be moved into the engine where it pays. Row by row, a pass of many sequences is a kernel call
for each of them in each layer, and scattered blocks are gathered first. Here the packed queries meet the whole pool in
one call. Which slots a query sees is a function of its number and the slot's, which looks up in tables whose slot it
is; tiles of slots that no row of a tile of queries owns are not visited, so that keys and values are read about once.

Time is of one layer, of the shape of an 8B Llama; what the first call takes, which compiles, stands by itself. On a CPU
nothing is compiled: there it tells only that both compute the same, on small shapes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from tandem.engine.attention import attend
from tandem.engine.batch import BatchPlan, Feed
from tandem.engine.families import AttentionShape
from tandem.engine.kv_pool import KVPool
from tandem.engine.sequence import Sequence
from tandem.engine.tree import EMPTY_TREE

Ints = npt.NDArray[np.int64]

TILE = 128
"""Queries, and slots, that FlexAttention takes together; a tile of slots is visited whole or not at all."""

BLOCK_SIZE = 16
NUM_CALLS = 20
Kernel = Callable[..., Any]


def attend_packed(
    kernel: Kernel, mask: BlockMask, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Attention of a pass in one layer, once its keys and values are written.

    Args: `kernel` is `flex_attention`, compiled or not; `query` `[1, heads, total, head_dim]`, `keys`, `values`
    `[slots, kv_heads, head_dim]`. Returns: `[1, total, heads, head_dim]`.
    """
    output: torch.Tensor = kernel(
        query,
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        block_mask=mask,
        scale=scaling,
        enable_gqa=query.shape[1] != keys.shape[1],
    )
    return output.transpose(1, 2)


def attend_by_row(
    plan: BatchPlan, window: int | None, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
) -> torch.Tensor:
    """The same as the engine does it."""
    rows = plan.rows_under(window)
    return torch.cat([attend(row, query[:, :, row.start : row.stop], keys, values, scaling) for row in rows], dim=1)


def seen_under(plan: BatchPlan, window: int | None) -> BlockMask:
    """Which slots of the pool each of a pass's tokens sees, in a layer of this window."""
    kv, feeds, device = plan.kv, plan.feeds, plan.kv.device
    size, counts = kv.block_size, np.array([len(feed.token_ids) for feed in feeds])
    row_of = np.repeat(np.arange(len(feeds)), counts)  # [total]
    widest = max(len(feed.tree) for feed in feeds)
    block_at = np.full((len(feeds), kv.blocks.num_blocks), -1)  # which of a row's blocks a block of the pool is
    ancestors = np.zeros((len(row_of), widest + 1), dtype=np.bool_)  # the last column: no node
    depths = np.zeros((len(feeds), widest + 1), dtype=np.int64)
    first = 0
    for row, feed in enumerate(feeds):
        table, nodes, count = feed.sequence.block_table, len(feed.tree), len(feed.token_ids)
        block_at[row, table] = np.arange(len(table))
        ancestors[first : first + count, :nodes] = feed.tree.ancestor_rows(feed.sequence.num_unsettled)
        depths[row, :nodes] = feed.tree.depths
        first += count

    on_device = [torch.from_numpy(table).to(device) for table in (row_of, block_at, ancestors, depths)]
    rows, blocks, seen, depth = on_device
    lengths = torch.tensor([feed.sequence.length for feed in feeds], device=device)
    positions = torch.from_numpy(plan.positions()).to(device)

    def sees(_: torch.Tensor, __: torch.Tensor, query: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
        row = rows[query]
        block = blocks[row, slot // size]
        node = block * size + slot % size - lengths[row]  # below 0: settled
        none = seen.shape[1] - 1
        index = torch.where((node < 0) | (node > none), none, node)
        visible = (block >= 0) & ((node < 0) | seen[query, index])
        if window is None:
            return visible
        position = lengths[row] + torch.where(node < 0, node, depth[row, index])
        return visible & (position > positions[query] - window)

    counts_of, tiles = _tiles(feeds, row_of, kv)
    return BlockMask.from_kv_blocks(
        torch.from_numpy(counts_of).to(device)[None, None],
        torch.from_numpy(tiles).to(device)[None, None],
        BLOCK_SIZE=(TILE, TILE),
        mask_mod=sees,
        seq_lengths=(len(row_of), kv.blocks.num_blocks * size),
        compute_q_blocks=False,
    )


def _tiles(feeds: list[Feed], row_of: Ints, kv: KVPool) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """How many tiles of slots each tile of queries visits, `[query tiles]`, and which first, `[query tiles, tiles]`."""
    num_slots = kv.blocks.num_blocks * kv.block_size
    owned = np.zeros((len(feeds), -(-num_slots // TILE)), dtype=np.bool_)
    for row, feed in enumerate(feeds):
        starts = feed.sequence.block_table * kv.block_size
        owned[row, starts // TILE] = True
        owned[row, (starts + kv.block_size - 1) // TILE] = True  # a block may lie across two
    visited = np.stack(
        [owned[np.unique(row_of[start : start + TILE])].any(axis=0) for start in range(0, len(row_of), TILE)]
    )
    return visited.sum(axis=1, dtype=np.int32), np.argsort(~visited, axis=1, kind="stable").astype(np.int32)


def pass_of(kv: KVPool, lengths: list[int], num_nodes: int, rng: np.random.Generator) -> BatchPlan:
    """A pass of random trees, of so many nodes, behind settled texts of these lengths, whose blocks are interleaved."""
    sequences = [Sequence(kv, cache_salt=None) for _ in lengths]
    for start in range(0, max(lengths), 4 * kv.block_size):  # they grow in turns, so that no table is one run
        for sequence, length in zip(sequences, lengths, strict=True):
            if start < length:
                sequence.reserve(min(4 * kv.block_size, length - start))
                sequence.length = min(length, start + 4 * kv.block_size)
    feeds = []
    for sequence in sequences:
        sequence.reserve(num_nodes)
        tree = EMPTY_TREE.extended([int(rng.integers(-1, node)) for node in range(num_nodes)])
        feeds.append(Feed(sequence, rng.integers(0, 100, num_nodes), np.arange(num_nodes), tree))
    return BatchPlan(kv, feeds)


def timed(device: torch.device, run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """Milliseconds of one call, and its result."""
    began = time.perf_counter()
    result = run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - began), result


@torch.inference_mode()
def compare(device: torch.device, shape: AttentionShape, lengths: list[int], num_nodes: int, kernel: Kernel) -> None:
    num_blocks = sum(-(-(length + num_nodes) // BLOCK_SIZE) + 1 for length in lengths)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    kv = KVPool(shape, num_blocks, BLOCK_SIZE, dtype, device)
    plan = pass_of(kv, lengths, num_nodes, np.random.default_rng(0))
    keys, values = kv.layers[0]
    keys.normal_()
    values.normal_()
    query = torch.randn((1, shape.num_heads, len(lengths) * num_nodes, shape.head_dim), dtype=dtype, device=device)
    scaling = shape.head_dim**-0.5
    mask_ms, mask = timed_mask(device, plan)

    def packed() -> torch.Tensor:
        return attend_packed(kernel, mask, query, keys, values, scaling)

    def by_row() -> torch.Tensor:
        return attend_by_row(plan, None, query, keys, values, scaling)

    first_ms, result = timed(device, packed)
    _, expected = timed(device, by_row)
    times = [(timed(device, packed)[0], timed(device, by_row)[0]) for _ in range(NUM_CALLS)]
    packed_ms, by_row_ms = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{len(lengths):3} rows: packed {packed_ms:8.3f} ms, by row {by_row_ms:8.3f} ms; once a pass, its mask "
        f"{mask_ms:.3f} ms; first call {first_ms / 1000:.1f} s; they differ by {(result - expected).abs().max():.2g}",
        flush=True,
    )


def timed_mask(device: torch.device, plan: BatchPlan) -> tuple[float, BlockMask]:
    """Milliseconds of making a pass's mask, and the mask."""
    began = time.perf_counter()
    mask = seen_under(plan, None)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - began), mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--nodes", type=int, default=5)
    args = parser.parse_args()
    device = torch.device(args.device)
    on_gpu = device.type == "cuda"
    kernel = torch.compile(flex_attention, dynamic=True) if on_gpu else flex_attention
    shape = AttentionShape(1, 32, 8, 128) if on_gpu else AttentionShape(1, 4, 2, 16)
    for num_rows in args.rows:
        compare(device, shape, [args.context] * num_rows, args.nodes, kernel)


if __name__ == "__main__":
    main()
