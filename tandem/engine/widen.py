"""Make a model slower without changing what it computes, to time cost ratios that a small pair cannot have.

The feed-forward of each layer is padded with units whose output weights are zero. They are computed at full cost and
add nothing, so acceptance stays that of the real model while the target becomes as slow as wished. A figure measured
with a widened model must say so.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tandem.engine.checkpoint import open_checkpoint
from tandem.errors import InvalidArgument, ModelRefused

GATED_FAMILIES = frozenset({"gemma", "llama", "mistral", "qwen2", "qwen3"})
"""Families whose layers have `mlp.gate_proj`, `mlp.up_proj` and `mlp.down_proj`."""

INDEX_NAME = "model.safetensors.index.json"
PADDING_STD = 0.02  # like freshly initialised weights: far from overflow, and never zero in bulk


def widen_feed_forward(source_folder: str | Path, target_folder: str | Path, intermediate_size: int) -> None:
    """Write a copy of the model whose feed-forward has `intermediate_size` units; same function, larger cost.

    The result is the same for the same arguments, and equal to the source's up to the order of additions.
    Raises: ModelRefused for a family without a gated feed-forward; InvalidArgument if the size is not larger than the
    model's own or the target folder is not empty.
    """
    source, target = Path(source_folder), Path(target_folder)
    config = open_checkpoint(str(source)).config
    family, old_size = config.get("model_type"), config.get("intermediate_size", 0)
    if family not in GATED_FAMILIES:
        raise ModelRefused(f"cannot widen family {family!r}; expected one of {', '.join(sorted(GATED_FAMILIES))}")
    if intermediate_size <= old_size:
        raise InvalidArgument(f"{source} is {old_size} wide already; expected more, not {intermediate_size}")
    if target.exists() and any(target.iterdir()):
        raise InvalidArgument(f"{target} is not empty; name a new folder")
    target.mkdir(parents=True, exist_ok=True)
    total_bytes = 0
    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors = {name: _widened(name, file.get_tensor(name), intermediate_size) for name in file.keys()}  # noqa: SIM118  # not a mapping
            metadata = file.metadata()
        save_file(tensors, target / path.name, metadata)
        total_bytes += sum(tensor.nbytes for tensor in tensors.values())
    for path in source.iterdir():
        if path.is_file() and path.suffix != ".safetensors":
            shutil.copyfile(path, target / path.name)
    _rewrite(target / "config.json", intermediate_size=intermediate_size)
    if (target / INDEX_NAME).exists():
        index = json.loads((target / INDEX_NAME).read_text())
        _rewrite(target / INDEX_NAME, metadata={**index.get("metadata", {}), "total_size": total_bytes})


def _widened(name: str, tensor: torch.Tensor, size: int) -> torch.Tensor:
    """The tensor with its feed-forward dimension padded to `size`, or the tensor itself if it has none."""
    if name.endswith(("mlp.gate_proj.weight", "mlp.up_proj.weight")):  # [intermediate, hidden]
        # One fixed seed: the padding's values do not matter, only that they cost as much as real ones.
        noise = torch.randn((size - len(tensor), tensor.shape[1]), generator=torch.Generator().manual_seed(0))
        return torch.cat((tensor, (noise * PADDING_STD).to(tensor.dtype)))
    if name.endswith(("mlp.gate_proj.bias", "mlp.up_proj.bias")):  # [intermediate]
        return torch.cat((tensor, tensor.new_zeros(size - len(tensor))))
    if name.endswith("mlp.down_proj.weight"):  # [hidden, intermediate]
        return torch.cat((tensor, tensor.new_zeros((len(tensor), size - tensor.shape[1]))), dim=1)
    return tensor


def _rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2) + "\n")
