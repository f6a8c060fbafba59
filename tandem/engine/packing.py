"""Weights laid out once as the processor's matrix products want them, instead of at every call.

oneDNN, which computes the library's linear layers on a CPU, reads weights in blocks. Given a plain matrix it
rearranges it call by call, or makes do with what it finds; both cost a good part of a pass of few tokens. The operators
are those that torch's own compiler uses when it freezes a model. They are not in its public interface, so that this
file is the only one to know them; torch is pinned.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import nn
from torch.nn import functional

NUM_ROWS = 32
"""For how many tokens at once the layout is chosen; products of fewer and of more gain as well.

Measured (`benchmarks/forward.py`): 32 is as good as 8 for 1, 5, 17 and 64 tokens or better, and 1 is worse from 5 on.
"""


EXACT_ROWS = 32
"""Products of so many tokens are computed as they are; larger ones with rows of zeros, up to one of few sizes.

For each size of each layer that oneDNN sees it compiles a kernel, and keeps it: 3 ms and 1.2 MB for the feed-forward of
the shipped target alone, ten times what computing it takes. Prompts come in all sizes, and so do batches. What
it saves: `python -m benchmarks.new_lengths`.
"""


class _Operators(Protocol):
    """What is used of ``torch.ops.mkldnn``."""

    def _reorder_linear_weight(self, weight: torch.Tensor, num_rows: int) -> torch.Tensor: ...

    def _linear_pointwise(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        kind: str,
        scalars: list[float],
        how: str,
    ) -> torch.Tensor: ...


_mkldnn = cast(_Operators, torch.ops.mkldnn)


class PackedLinear(nn.Module):
    """A linear layer whose weight is packed; it cannot be trained, and its weight cannot be read back."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self._packed = _mkldnn._reorder_linear_weight(linear.weight.detach(), NUM_ROWS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        num_rows = x.numel() // self.in_features
        more = padded_rows(num_rows) - num_rows
        if not more:
            return self._product(x)
        rows = functional.pad(x.reshape(num_rows, self.in_features), (0, 0, 0, more))
        return self._product(rows)[:num_rows].view(*x.shape[:-1], self.out_features)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        return _mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")


def padded_rows(num_rows: int) -> int:
    """With how many rows a product of so many is computed: at most a quarter more, four sizes for each doubling."""
    if num_rows <= EXACT_ROWS:
        return num_rows
    step = 1 << (num_rows.bit_length() - 3)
    return -(-num_rows // step) * step


def pack(model: nn.Module) -> None:
    """Packs the model's linear layers, one after another, so that no more than one stands in memory twice.

    Left as they are: layers of other classes (quantised ones, for instance), those that share their weight with an
    embedding, and those that the library has given another forward, which runs one rank's part of them. Does nothing
    where oneDNN does not compute the model's number type.
    """
    shared = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is not nn.Linear or id(child.weight) in shared or "forward" in vars(child):
                continue
            if _can_pack(child.weight):
                setattr(parent, name, PackedLinear(child))


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _can_pack(weight: torch.Tensor) -> bool:
    if weight.device.type != "cpu" or type(weight.data) is not torch.Tensor or not _has_onednn():
        return False
    if weight.dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype is torch.float32
