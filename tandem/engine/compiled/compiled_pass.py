"""A model's whole forward pass as machine code: the same as `run_pass`, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from tandem.engine.batch import BatchPlan
from tandem.engine.compiled.compiling import FEWEST, LIBRARY, compiled_package
from tandem.engine.compiled.numbered_plan import numbered
from tandem.engine.compiled.selecting import highest
from tandem.engine.readout import Select

_ZEROS = np.zeros(FEWEST, np.int64)


class CompiledPass:
    """Called as `run_pass` is, with the plan alone. One thread at a time."""

    select: Select = staticmethod(highest)
    """How the highest of its logits are found."""

    def __init__(self, run: Callable[[list[torch.Tensor]], torch.Tensor]) -> None:
        """`run` takes what `compiling.Pass` takes, one by one, and returns what that returns."""
        self._run = run

    @classmethod
    def of(cls, model: PreTrainedModel) -> CompiledPass:
        """Compiles the model, or finds it compiled; its own weights are not needed after that.

        Raises: InvalidArgument, ModelRefused, as `compiled_package` does.
        """
        library = compiled_package(model) / LIBRARY
        return cls(torch.classes.tandem.Package(str(library)).run)

    def __call__(self, plan: BatchPlan) -> torch.Tensor:
        """Feeds the plan's tokens, writes their KV, and returns the logits that were asked for, `[sum k, vocab]`."""
        logits_at = plan.logits_at()
        with torch.no_grad():
            logits = self._run(
                [
                    _filled(plan.token_ids())[None],
                    _filled(plan.positions())[None],
                    _filled(logits_at),
                    plan.kv.memory,
                    numbered(plan),
                ]
            )
        return logits[: len(logits_at)]


def _filled(numbers: npt.NDArray[np.int64]) -> torch.Tensor:
    """With zeros behind them where they are too few. No row is of such a token, and nobody reads such logits."""
    missing = FEWEST - len(numbers)
    return torch.from_numpy(np.concatenate((numbers, _ZEROS[:missing])) if missing > 0 else numbers)
