"""What sharing a computed prompt saves once, and what it costs each pass, on the shipped target, in one process.

python -m benchmarks.shared_prompts

A text that shares its prompt has its KV in two pieces, which are gathered, where that of a text alone lies in one,
which is read in place. Passes of both kinds take turns, and so does their order; medians of their ratios are shown.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tandem.engine.engine import Engine
from tandem.engine.loading import load_model
from tandem.engine.sequence import Sequence
from tandem.engine.tree_model import Row
from tandem.models import shipped

_OWN, _REPETITIONS = 32, 15
_TREE = np.array([-1, 0, 1, 0, 3])


def _read(engine: Engine, sequence: Sequence, token_ids: np.ndarray) -> None:
    """Computes what is not found of a text."""
    sequence.adopt(token_ids.tolist(), len(token_ids) - 1)
    rest = token_ids[sequence.length :]
    places = np.arange(len(rest))
    engine.candidates([Row(sequence, rest, places - 1, places[-1:])], 10)
    sequence.settle(places)


def _pass(engine: Engine, sequences: list[Sequence]) -> None:
    """One round's pass: a tree of five tokens on each text."""
    engine.candidates([Row(sequence, np.arange(5), _TREE, np.arange(5)) for sequence in sequences], 10)
    for sequence in sequences:
        sequence.settle([])


def _ratio(shared: Callable[[], None], alone: Callable[[], None], repetitions: int) -> float:
    ratios: list[float] = []
    for index in range(repetitions):
        seconds = {}
        for step in (shared, alone) if index % 2 else (alone, shared):
            started = time.perf_counter()
            step()
            seconds[step] = time.perf_counter() - started
        ratios.append(seconds[shared] / seconds[alone])
    return statistics.median(ratios)


def main() -> None:
    torch.set_num_threads(1)
    table = Table("dtype", "prompt", "reading a text: shared / alone", "sessions", "a pass: shared / alone")
    generator = np.random.default_rng(0)
    for dtype in ("float32", "bfloat16"):
        loaded = load_model(str(shipped("target")), dtype=dtype, device="cpu")
        for length in (64, 256, 768):
            prompt = generator.integers(0, 1000, length)
            engine = Engine(loaded, num_kv_blocks=4096)

            def text(prompt: np.ndarray = prompt) -> np.ndarray:
                return np.concatenate((prompt, generator.integers(0, 1000, _OWN)))

            def reading(salt: bytes | None, engine: Engine = engine, text: Callable[[], np.ndarray] = text) -> None:
                sequence = engine.open(salt)
                _read(engine, sequence, text())
                engine.close(sequence)

            reading(b"")
            saved = _ratio(lambda: reading(b""), lambda: reading(None), _REPETITIONS)
            for count in (1, 16):
                shared, alone = ([engine.open(salt) for _ in range(count)] for salt in (b"", None))
                for sequence in (*shared, *alone):
                    _read(engine, sequence, text())
                costs = _ratio(lambda: _pass(engine, shared), lambda: _pass(engine, alone), _REPETITIONS)  # noqa: B023
                for sequence in (*shared, *alone):
                    engine.close(sequence)
                table.add_row(dtype, f"{length}", f"{saved:.2f}", f"{count}", f"{costs:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
