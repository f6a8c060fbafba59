"""Tokens per second of the decoding methods through three processes, and beside one process.

    python benchmarks/speed.py --target shipped
    python benchmarks/speed.py --target widened      the same function at the cost of 85M parameters

Every repetition asks fresh held-out questions, each of every configuration in turn, so that a machine whose speed
drifts moves them all alike. Figures are whole-request: prefill and time to the first token included.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.stack import running_stack
from tandem import AsyncClient, LocalDecoder
from tandem.decoding.methods import METHODS
from tandem.engine.widen import widen_feed_forward
from tandem.evaluation.text_to_sql import Example, held_out
from tandem.generation import Options, Usage
from tandem.models import shipped

console = Console(width=130)

_WIDENED = Path("build/widened")
_WIDTH = 18432  # x 6 layers x 3 matrices x width 256 = 85M parameters' worth of weight reading


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way of decoding, and where."""

    method: str
    draft_length: int
    temperature: float
    place: str
    """services or local"""
    concurrency: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One configuration in one repetition."""

    tokens_per_second: float
    block_efficiency: float
    seconds_per_token: float
    """After the first token, mean over requests."""


def main(
    target: Annotated[str, typer.Option(help="shipped or widened.")] = "shipped",
    methods: Annotated[str, typer.Option()] = "autoregressive,speculative,block,mtad,mmtad",
    draft_lengths: Annotated[str, typer.Option()] = "2,4,6,8",
    concurrency: Annotated[str, typer.Option()] = "1",
    temperature: Annotated[float, typer.Option()] = 1.0,
    questions: Annotated[int, typer.Option(help="Per configuration and repetition.")] = 12,
    repetitions: Annotated[int, typer.Option()] = 5,
    threads: Annotated[int, typer.Option(help="Of each service, and of the one process.")] = 2,
    dtype: Annotated[str, typer.Option()] = "auto",
    local: Annotated[bool, typer.Option(help="Measure one process as well.")] = True,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON.")] = None,
) -> None:
    """Measures and prints a table."""
    torch.set_num_threads(threads)
    folder = shipped("target")
    if target == "widened":
        folder = _WIDENED
        if not folder.exists():
            widen_feed_forward(shipped("target"), folder, _WIDTH)
    places = ("services", "local") if local else ("services",)
    configurations = [
        Configuration(method, length, temperature, place, int(level))
        for level in concurrency.split(",")
        for method in methods.split(",")
        for length in ((4,) if METHODS[method].target_only else map(int, draft_lengths.split(",")))
        for place in places
    ]
    decoder = LocalDecoder(folder, dtype=dtype)
    arguments = ["--target", str(folder), "--threads", str(threads), "--dtype", dtype]
    with running_stack(arguments) as address:
        figures = asyncio.run(_measure(decoder, address, configurations, questions, repetitions))
    _print(figures)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        records = [
            {"configuration": _fields(key), "repetitions": [_fields(value) for value in values]}
            for key, values in figures.items()
        ]
        out.write_text(json.dumps({"target": target, "threads": threads, "dtype": dtype, "figures": records}, indent=1))


def _fields(value: Configuration | Measured) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


async def _measure(
    decoder: LocalDecoder, address: str, configurations: Sequence[Configuration], questions: int, repetitions: int
) -> dict[Configuration, list[Measured]]:
    """The machine's speed drifts within seconds, so all configurations answer a few questions before any goes on."""
    at_once = max(key.concurrency for key in configurations)
    size = -(-questions // at_once) * at_once
    fresh = iter(held_out(size * (repetitions + 1), seed=1))
    figures: dict[Configuration, list[Measured]] = {key: [] for key in configurations}
    async with AsyncClient(address) as client:
        with Progress(console=console) as progress:
            task = progress.add_task("measuring", total=(repetitions + 1) * size // at_once)
            for repetition in range(repetitions + 1):
                running = {key: _Running() for key in configurations}
                for _ in range(size // at_once):
                    examples = [next(fresh) for _ in range(at_once)]
                    for configuration, sums in running.items():
                        await sums.ask(decoder, client, configuration, examples)
                    progress.advance(task)
                if repetition:  # the first one warms up
                    for configuration, sums in running.items():
                        figures[configuration].append(sums.measured())
    return figures


class _Running:
    """One configuration's sums over a repetition."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._usages: list[Usage] = []

    async def ask(
        self, decoder: LocalDecoder, client: AsyncClient, configuration: Configuration, examples: Sequence[Example]
    ) -> None:
        """Has the questions answered, ``configuration.concurrency`` at once."""
        options: Options = {
            "method": configuration.method,
            "draft_length": configuration.draft_length,
            "temperature": configuration.temperature,
            "max_tokens": 128,
            "seed": 1,
        }
        step = configuration.concurrency
        started = time.perf_counter()
        for start in range(0, len(examples), step):
            prompts = [example.prompt for example in examples[start : start + step]]
            if configuration.place == "local":
                generations = decoder.generate_all(prompts, **options)
            else:
                requests = [Options(**{**options, "seed": 1 + index}) for index in range(len(prompts))]
                generations = await asyncio.gather(
                    *(client.generate(prompt, **request) for prompt, request in zip(prompts, requests, strict=True))
                )
            self._usages += [generation.usage for generation in generations]
        self._seconds += time.perf_counter() - started

    def measured(self) -> Measured:
        """The figures."""
        tokens = sum(usage.completion_tokens for usage in self._usages)
        return Measured(
            tokens / self._seconds,
            tokens / sum(usage.num_target_passes for usage in self._usages),
            statistics.fmean(usage.time_per_output_token_seconds for usage in self._usages),
        )


def _print(figures: dict[Configuration, list[Measured]]) -> None:
    def rate(key: Configuration) -> float:
        return statistics.median(measured.tokens_per_second for measured in figures[key])

    def ratio(key: Configuration, other: Configuration | None) -> str:
        """Median of the ratios repetition by repetition."""
        if other is None or other not in figures:
            return ""
        pairs = zip(figures[key], figures[other], strict=True)
        return f"{statistics.median(a.tokens_per_second / b.tokens_per_second for a, b in pairs):.2f}"

    def best(method: str, like: Configuration) -> Configuration | None:
        same = [k for k in figures if (k.method, k.place, k.concurrency) == (method, like.place, like.concurrency)]
        return max(same, key=rate, default=None)

    table = Table(
        "at once",
        "method",
        "γ",
        "where",
        "tokens/s",
        "ms/token",
        "tokens a pass",
        "× autoregressive",
        "× best speculative",
        "services / local",
    )
    for key, measured in figures.items():
        other = Configuration(key.method, key.draft_length, key.temperature, "local", key.concurrency)
        table.add_row(
            str(key.concurrency),
            key.method + (" *" if best(key.method, key) == key else ""),
            str(key.draft_length),
            key.place,
            f"{rate(key):.0f}",
            f"{1e3 * statistics.median(m.seconds_per_token for m in measured):.2f}",
            f"{statistics.median(m.block_efficiency for m in measured):.2f}",
            ratio(key, best("autoregressive", key)),
            ratio(key, best("speculative", key)),
            ratio(key, other) if key.place == "services" else "",
        )
    console.print(table)
    console.print("* best draft length of its method. Medians; ratios are taken repetition by repetition.")


if __name__ == "__main__":
    typer.run(main)
