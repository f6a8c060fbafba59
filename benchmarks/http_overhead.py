"""What HTTP adds to streaming: the same texts through server-sent events and through gRPC, by turns, in one run.

    python -m benchmarks.http_overhead

Each block asks the same questions with the same seeds over one of the two, all clients at once; blocks alternate. Times
are the clients'. Beside them stands the orchestrator's own processor time, which neighbours on the machine hardly move.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.event_stream import posted
from benchmarks.stack import told_stack
from tandem import AsyncClient
from tandem.evaluation.statistics import estimate, ratio
from tandem.evaluation.text_to_sql import held_out
from tandem.generation import Options

console = Console(width=130)


@dataclass(frozen=True, slots=True)
class Read:
    """One stream, as its client saw it."""

    num_tokens: int
    first: float
    last: float


Ask = Callable[[str, Options], Awaitable[Read]]
"""Has a prompt answered."""


@dataclass(frozen=True, slots=True)
class Block:
    """All clients' streams over one protocol."""

    seconds_per_token: float
    """After the first, mean over streams."""
    tokens_per_second: float
    served_seconds_per_token: float
    """Processor time of the orchestrator."""
    read_seconds_per_token: float
    """Processor time of this process."""


def main(
    concurrency: Annotated[int, typer.Option()] = 16,
    repetitions: Annotated[int, typer.Option(help="Pairs of blocks.")] = 12,
    streams: Annotated[int, typer.Option(help="Of each client in a block, one after another.")] = 2,
    tokens: Annotated[int, typer.Option(help="Of each stream.")] = 96,
    method: Annotated[str, typer.Option()] = "mtad",
) -> None:
    """Measures and prints a table."""
    prompts = [example.prompt for example in held_out(concurrency * streams, seed=1)]
    options: Options = {"method": method, "max_tokens": tokens}
    with told_stack(["--threads", "1"]) as told:
        (pid,) = (one["pid"] for one in told["processes"] if one["role"] == "orchestrator")
        run = _Run(psutil.Process(pid), prompts, options, concurrency)
        measured = asyncio.run(_measure(run, told["grpc"][0], f"{told['http'][0]}/v1/completions", repetitions))
    _print(measured)


async def _measure(run: _Run, address: str, url: str, repetitions: int) -> dict[str, list[Block]]:
    measured: dict[str, list[Block]] = {"gRPC": [], "HTTP": []}
    async with AsyncClient(address) as client:
        ways: dict[str, Ask] = {
            "gRPC": lambda prompt, options: _over_grpc(client, prompt, options),
            "HTTP": lambda prompt, options: _over_http(url, prompt, options),
        }
        for way in ways.values():  # warms up
            await run.block(way)
        for number in track(range(repetitions), "measuring", console=console):
            for name in list(ways) if number % 2 else reversed(list(ways)):
                measured[name].append(await run.block(ways[name]))
    return measured


async def _over_grpc(client: AsyncClient, prompt: str, options: Options) -> Read:
    times: list[float] = []
    async with client.stream(prompt, ignore_eos=True, **options) as stream:
        async for _ in stream:
            times.append(time.perf_counter())
        return Read(len(stream.generation.token_ids), times[0], times[-1])


async def _over_http(url: str, prompt: str, options: Options) -> Read:
    body = {
        "prompt": prompt,
        "stream": True,
        "stream_options": {"include_usage": True},
        "speculative": {"method": options["method"]},
        "max_tokens": options["max_tokens"],
        "seed": options["seed"],
        "ignore_eos": True,
    }
    times: list[float] = []
    async with posted(url, body) as stream:
        async for data in stream.events():
            event = json.loads(data)
            if event["choices"] and event["choices"][0]["finish_reason"] is None:
                times.append(time.perf_counter())
    return Read(event["usage"]["completion_tokens"], times[0], times[-1])


class _Run:
    """What every block asks, and who is watched."""

    def __init__(
        self, orchestrator: psutil.Process, prompts: Sequence[str], options: Options, concurrency: int
    ) -> None:
        self._orchestrator = orchestrator
        self._prompts = prompts
        self._options = options
        self._concurrency = concurrency

    async def block(self, ask: Ask) -> Block:
        """Has all prompts answered, each client's one after another."""

        async def client(number: int) -> list[Read]:
            mine = range(number, len(self._prompts), self._concurrency)
            return [await ask(self._prompts[index], self._options | Options(seed=index)) for index in mine]

        processes = (self._orchestrator, psutil.Process())
        busy, began = [_busy(process) for process in processes], time.perf_counter()
        found = await asyncio.gather(*(client(number) for number in range(self._concurrency)))
        seconds = time.perf_counter() - began
        served, read = (_busy(process) - before for process, before in zip(processes, busy, strict=True))
        reads = [one for many in found for one in many]
        tokens = sum(one.num_tokens for one in reads)
        per_token = float(np.mean([(one.last - one.first) / (one.num_tokens - 1) for one in reads]))
        return Block(per_token, tokens / seconds, served / tokens, read / tokens)


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _print(measured: dict[str, list[Block]]) -> None:
    table = Table("", "gRPC", "HTTP", "HTTP / gRPC [95%]")
    for label, name, scale in (
        ("ms a token after the first", "seconds_per_token", 1e3),
        ("tokens/s", "tokens_per_second", 1.0),
        ("processor ms a token, orchestrator", "served_seconds_per_token", 1e3),
        ("processor ms a token, this process", "read_seconds_per_token", 1e3),
    ):
        grpc, http = (np.array([getattr(block, name) for block in measured[way]]) for way in ("gRPC", "HTTP"))
        found = estimate(ratio, http, grpc)
        interval = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        table.add_row(label, f"{scale * np.median(grpc):.3f}", f"{scale * np.median(http):.3f}", interval)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
