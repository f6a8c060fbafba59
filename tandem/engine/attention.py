"""The attention function that is plugged into the library's models: packed rows over the KV pool.

Registered as `tandem_paged` in the library's `AttentionInterface`. The plan of the batch travels as an extra keyword
argument of the model call, which the library hands down to every layer. The name has no entry in
`AttentionMaskInterface` on purpose: that is what spares the library's own mask construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tandem.engine.batch import BatchPlan, RowAttention
from tandem.errors import InvariantBroken

ATTENTION_NAME = "tandem_paged"

UNSUPPORTED_ARGUMENTS = ("softcap", "s_aux", "head_mask", "position_bias")
"""Arguments with which some families change the attention itself; one of those would otherwise be computed wrongly."""


def paged_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    tandem_plan: BatchPlan,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Write the new keys and values into the pool, then attend row by row.

    Args: `query` `[1, heads, total, head_dim]`, `key` and `value` `[1, kv_heads, total, head_dim]`.
    Returns: `[1, total, heads, head_dim]`, and None for the attention weights.
    Raises: InvariantBroken if the layer asks for a kind of attention that this function does not compute.
    """
    refuse_unsupported_arguments(module, kwargs)
    keys, values = tandem_plan.kv.layers[module.layer_idx]  # type: ignore[index]  # an int in every supported family
    if isinstance(tandem_plan.written, slice):
        keys[tandem_plan.written] = key[0].transpose(0, 1)
        values[tandem_plan.written] = value[0].transpose(0, 1)
    else:
        keys.index_copy_(0, tandem_plan.written, key[0].transpose(0, 1))
        values.index_copy_(0, tandem_plan.written, value[0].transpose(0, 1))

    rows = tandem_plan.rows_under(sliding_window)
    if len(rows) == 1:
        return attend(rows[0], query, keys, values, scaling), None
    pieces = [attend(row, query[:, :, row.start : row.stop], keys, values, scaling) for row in rows]
    return torch.cat(pieces, dim=1), None


def refuse_unsupported_arguments(module: nn.Module, arguments: Mapping[str, Any]) -> None:
    """Raises: InvariantBroken if the layer asks for a kind of attention that is not computed here."""
    for name in UNSUPPORTED_ARGUMENTS:
        if arguments.get(name) is not None:
            raise InvariantBroken(f"{type(module).__name__} attends with `{name}`, which is not computed here")


def attend(
    row: RowAttention, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
) -> torch.Tensor:
    """One row's attention.

    The query heads that share a KV head are laid end to end along the query length, so that keys and values are never
    repeated in memory. Args: `query` `[1, heads, n, head_dim]`, `keys`, `values` `[slots, kv_heads, head_dim]`.
    Returns: `[1, n, heads, head_dim]`.
    """
    if isinstance(row.context, slice):
        row_keys, row_values = keys[row.context], values[row.context]
    else:
        row_keys, row_values = keys.index_select(0, row.context), values.index_select(0, row.context)
    row_keys, row_values = row_keys.transpose(0, 1)[None], row_values.transpose(0, 1)[None]
    if row.is_causal:
        output = scaled_dot_product_attention(
            query, row_keys, row_values, is_causal=True, scale=scaling, enable_gqa=True
        )
        return output.transpose(1, 2)
    _, num_heads, num_new, head_dim = query.shape
    num_kv_heads = row_keys.shape[1]
    folded = query.reshape(1, num_kv_heads, -1, head_dim)  # [1, kv_heads, groups * n, head_dim]
    output = scaled_dot_product_attention(folded, row_keys, row_values, attn_mask=row.mask, scale=scaling)
    unfolded = output.view(1, num_kv_heads, -1, num_new, head_dim).permute(0, 3, 1, 2, 4)
    return unfolded.reshape(1, num_new, num_heads, head_dim)


AttentionInterface.register(ATTENTION_NAME, paged_attention)
