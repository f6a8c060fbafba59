"""Training state on disk: tensors in safetensors, counters in JSON, written so that a cut leaves the one before."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


@dataclass
class Progress:
    """How far a run has come. `num_tokens` counts positions read, padding included."""

    step: int = 0
    elapsed_seconds: float = 0.0
    num_examples: int = 0
    num_tokens: int = 0
    num_answer_tokens: int = 0


def save(folder: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer], progress: Progress) -> None:
    """Write a checkpoint. The counters name the tensor file they belong to and are written last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model/{name}": value.detach().contiguous() for name, value in model.named_parameters()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer/{number}/{index}/{name}"] = value.contiguous()
    name = f"state-{progress.step}.safetensors"
    save_file(tensors, folder / name)
    counters = folder / "progress.json.new"
    counters.write_text(json.dumps({"tensors": name, **asdict(progress)}))
    os.replace(counters, folder / "progress.json")
    for stale in folder.glob("state-*.safetensors"):
        if stale.name != name:
            stale.unlink()


def load(folder: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> Progress:
    """Restore the last checkpoint into the model and its optimizers; nothing happens where there is none."""
    path = folder / "progress.json"
    if not path.exists():
        return Progress()
    counters = json.loads(path.read_text())
    tensors = load_file(folder / counters.pop("tensors"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model/{name}"])
    for number, optimizer in enumerate(optimizers):
        fresh = optimizer.state_dict()
        prefix = f"optimizer/{number}/"
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, name = key.removeprefix(prefix).split("/")
                fresh["state"].setdefault(int(index), {})[name] = value
        optimizer.load_state_dict(fresh)
    return Progress(**counters)
