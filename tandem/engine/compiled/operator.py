"""The attention function of compiled passes, plugged into the library's models as one opaque operator.

Registered as `tandem_compiled`; what `tandem_paged` is for passes that are not compiled.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface

from tandem.engine.attention import refuse_unsupported_arguments
from tandem.engine.compiled.native import load_native

ATTENTION_NAME = "tandem_compiled"


@cache
def load_operator() -> None:
    """Loads the operator, and tells the compiler what it returns. Raises: as `load_native` does."""
    load_native()
    torch.library.register_fake("tandem::attend_paged", _shape_of_output)


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    tandem_pool: torch.Tensor,
    tandem_numbers: torch.Tensor,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As `tandem.engine.attention.paged_attention`, with the plan as numbers and the pool of all layers.

    Returns: `[1, total, heads, head_dim]`, and None for the attention weights.
    """
    refuse_unsupported_arguments(module, kwargs)
    output = torch.ops.tandem.attend_paged(
        tandem_pool, query, key, value, tandem_numbers, module.layer_idx, scaling, sliding_window or 0
    )
    return output, None


def _shape_of_output(
    pool: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *others: object
) -> torch.Tensor:
    _, num_heads, num_tokens, head_dim = query.shape
    return query.new_empty((1, num_tokens, num_heads, head_dim))


AttentionInterface.register(ATTENTION_NAME, attend)
