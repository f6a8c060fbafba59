"""The memory that holds keys and values of all sequences, slot by slot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from tandem.engine.blocks import BlockPool
from tandem.engine.families import AttentionShape
from tandem.engine.prefix import PrefixCounts

Slots = slice | torch.Tensor
"""A run of slots, which is read through a view, or their numbers, `[n]`, which are gathered."""


class KVPool:
    """Keys and values of every layer for `num_blocks` blocks of `block_size` slots; one slot holds one token.

    The whole pool is one allocation, `[layers, 2, slots, kv_heads, head_dim]`, so that a verdict's compaction moves
    the slots of all layers at once. The attention function sees it layer by layer through `layers`.
    """

    def __init__(
        self, shape: AttentionShape, num_blocks: int, block_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shape = shape
        self.block_size = block_size
        self.blocks = BlockPool(num_blocks)
        self.prefix_counts = PrefixCounts()
        self.device = device
        self.dtype = dtype
        num_slots = num_blocks * block_size
        self.memory = torch.zeros(
            (shape.num_layers, 2, num_slots, shape.num_kv_heads, shape.head_dim), dtype=dtype, device=device
        )
        self.layers: tuple[tuple[torch.Tensor, torch.Tensor], ...] = tuple(
            (layer[0], layer[1])
            for layer in self.memory  # keys and values, [slots, kv_heads, head_dim] each
        )

    def num_blocks_for(self, num_slots: int) -> int:
        """How many blocks hold `num_slots` slots."""
        return -(-num_slots // self.block_size)

    def move(self, source: npt.NDArray[np.int64], target: npt.NDArray[np.int64]) -> None:
        """Copy slots `source` onto slots `target`, `[n]` each, in every layer; they may overlap."""
        moved = self.memory.index_select(2, torch.from_numpy(source).to(self.device))
        self.memory.index_copy_(2, torch.from_numpy(target).to(self.device), moved)
