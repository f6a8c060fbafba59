"""One forward pass of an unmodified model over a batch plan: the same on every rank."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from tandem.engine.batch import BatchPlan


@torch.inference_mode()
def run_pass(model: PreTrainedModel, plan: BatchPlan) -> torch.Tensor:
    """Feeds the plan's tokens, writes their KV, and returns the logits that were asked for, `[sum k, vocab_size]`."""
    device = plan.kv.device
    output = model(
        input_ids=_on(device, plan.token_ids())[None],
        position_ids=_on(device, plan.positions())[None],
        use_cache=False,
        logits_to_keep=_on(device, plan.logits_at()),
        tandem_plan=plan,
    )
    logits: torch.Tensor = output.logits[0]
    return logits


def _on(device: torch.device, numbers: npt.NDArray[np.int64]) -> torch.Tensor:
    return torch.from_numpy(numbers).to(device)
