"""One forward pass of each model of the shipped pair right after the last, and after a gap: asleep, or busy elsewhere.

python -m benchmarks.after_a_gap

In three processes each model waits for the other in every round; this is what the waiting itself costs it.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tandem.engine.engine import Engine
from tandem.engine.loading import load_model
from tandem.engine.tree_model import Row
from tandem.models import shipped

_CONTEXT, _TOKENS, _PASSES = 60, 5, 60


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def main() -> None:
    torch.set_num_threads(1)
    table = Table("model", "gap", "ms a pass (median)", "of the pass without a gap")
    for name in ("target", "draft"):
        engine = Engine(load_model(str(shipped(name))), num_kv_blocks=64)
        sequence = engine.open()
        prompt = np.arange(_CONTEXT)
        engine.candidates([Row(sequence, prompt, prompt - 1, prompt[-1:])], 10)
        sequence.settle(range(_CONTEXT))
        base = 0.0
        for label, wait, gap in (("none", _sleep, 0.0), ("8 ms asleep", _sleep, 0.008), ("8 ms busy", _spin, 0.008)):
            times: list[float] = []
            for _ in range(_PASSES):
                if gap:
                    wait(gap)
                tokens = np.arange(_TOKENS)
                started = time.perf_counter()
                engine.candidates([Row(sequence, tokens, tokens - 1, tokens)], 10)
                times.append(time.perf_counter() - started)
                sequence.rollback(_CONTEXT)
            median = 1e3 * statistics.median(times)
            base = base or median
            table.add_row(name, label, f"{median:.2f}", f"{median / base:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
