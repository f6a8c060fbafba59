"""The experiment with FlexAttention computes what the engine's attention does, and visits every slot that is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

from benchmarks.packed_attention import TILE, attend_by_row, attend_packed, pass_of, seen_under
from tandem.engine.families import AttentionShape
from tandem.engine.kv_pool import KVPool


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize(("lengths", "num_nodes"), [([19, 0, 33, 7], 5), ([90], 1), ([40, 150, 3] * 10, 6)])
@torch.inference_mode()
def test_all_rows_at_once_attend_as_one_by_one(window: int | None, lengths: list[int], num_nodes: int) -> None:
    kv = KVPool(AttentionShape(1, 4, 2, 16), 300, 8, torch.float32, torch.device("cpu"))
    plan = pass_of(kv, lengths, num_nodes, np.random.default_rng(1))
    keys, values = kv.layers[0]
    keys.normal_()
    values.normal_()
    num_tokens = len(lengths) * num_nodes
    query = torch.randn((1, 4, num_tokens, 16))
    mask = seen_under(plan, window)
    packed = attend_packed(flex_attention, mask, query, keys, values, 0.3)
    torch.testing.assert_close(packed, attend_by_row(plan, window, query, keys, values, 0.3), rtol=0, atol=1e-5)

    seen = mask.mask_mod(torch.tensor(0), torch.tensor(0), torch.arange(num_tokens)[:, None], torch.arange(300 * 8))
    for tile, count in enumerate(mask.kv_num_blocks[0, 0].tolist()):
        visited = set(mask.kv_indices[0, 0, tile, :count].tolist())
        needed = seen[tile * TILE : (tile + 1) * TILE].any(dim=0).nonzero().flatten() // TILE
        assert set(needed.tolist()) <= visited
    if len(lengths) < 5:
        assert mask.kv_num_blocks.max() < -(-300 * 8 // TILE)
