"""A thousand streams over HTTP that have begun and wait, held by one orchestrator; what they cost, and whom they delay.

    python -m benchmarks.idle_streams

The replica is scripted: it gives each of these texts its first token, and the rest once all have been counted; then
they are read to their ends. A witness asks for short texts, one after another, before, during and after. All of it
happens twice, so that what is kept for later is told from what is lost.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.event_stream import EventStream, posted
from orchestrator.open_files import allow_many
from tandem.tokenization import Tokenizer
from tests.support.redis_server import running_redis
from tests.support.replicas import Run, ScriptedVerify, describe, scripted
from tests.support.tiny_pair import make_tokenizer

HELD, WITNESS = (5, 6, 7), (8, 6, 7)
"""Prompts."""
SCRIPT = tuple(range(40, 97))
TOKENS = 12
"""Of each text."""
_AT_ONCE = 64
"""Streams that are being opened."""
_PATIENCE_SECONDS = 120.0


class HoldingVerify(ScriptedVerify):
    """Gives the held texts one token, and the others once `released` is set."""

    def __init__(self, tokenizer_digest: str) -> None:
        super().__init__(describe("verify", tokenizer_digest), scripted(SCRIPT, len(HELD)))
        self.released = asyncio.Event()

    async def pause(self, run: Run) -> None:
        """Holds a text that has its first token."""
        if run.token_ids[0] == HELD[0] and len(run.token_ids) > len(HELD):
            await self.released.wait()


@dataclass(frozen=True, slots=True)
class Held:
    """What an orchestrator takes at one moment."""

    memory_bytes: int
    file_descriptors: int
    witness_seconds: tuple[float, ...]
    """Of each request of the witness."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Before the streams, while they wait, after they have ended, and while as many more of them wait."""

    before: Held
    during: Held
    after: Held
    again: Held
    num_ended: int
    """Streams that had all of their text and ended as they should, of both times."""


async def measure(num_streams: int, num_witnesses: int) -> Figures:
    """Starts a store, a replica and an orchestrator; holds the streams; lets them go."""
    async with AsyncExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        redis = ending.enter_context(running_redis(folder))
        make_tokenizer(folder)
        verify = HoldingVerify(Tokenizer.from_pretrained(folder).digest)
        await verify.start()
        ending.push_async_callback(verify.stop)
        flags = ["--verify", verify.address, "--tokenizer", str(folder), "--redis-url", redis.url]
        flags += ["--max-sessions", str(num_streams + 1), "--round-timeout", "3600"]
        process, url = await ending.enter_async_context(_orchestrator(folder, flags))

        await _look(process, url, num_witnesses)  # warms up
        before = await _look(process, url, num_witnesses)
        during, num_ended = await _hold(verify, process, url, num_streams, num_witnesses)
        await _settled(process, before.file_descriptors)
        after = await _look(process, url, num_witnesses)
        again, num_more = await _hold(verify, process, url, num_streams, num_witnesses)
        return Figures(before, during, after, again, num_ended + num_more)


@asynccontextmanager
async def _orchestrator(folder: Path, flags: Sequence[str]) -> AsyncIterator[tuple[psutil.Process, str]]:
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "orchestrator", "--ready-file", str(ready), "--log-level", "error", *flags]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not ready.exists():
                if process.returncode is not None:
                    raise RuntimeError("the orchestrator did not start")
                await asyncio.sleep(0.05)
        yield psutil.Process(process.pid), f"{json.loads(ready.read_text())['http']}/v1/completions"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _hold(
    verify: HoldingVerify, process: psutil.Process, url: str, num_streams: int, num_witnesses: int
) -> tuple[Held, int]:
    """Opens the streams, looks, lets them go; returns how many ended as they should, too."""
    verify.released.clear()
    async with AsyncExitStack() as streams:
        held = await _open(streams, url, num_streams)
        found = await _look(process, url, num_witnesses)
        verify.released.set()
        return found, sum(await asyncio.gather(*(_ends_well(one) for one in held)))


async def _open(streams: AsyncExitStack, url: str, count: int) -> list[EventStream]:
    """Opens streams and reads the first event of each."""
    some = asyncio.Semaphore(_AT_ONCE)

    async def one() -> EventStream:
        async with some:
            stream = await streams.enter_async_context(posted(url, _body(HELD)))
            await anext(stream.events())
            return stream

    return list(await asyncio.gather(*(one() for _ in range(count))))


async def _ends_well(stream: EventStream) -> bool:
    """Reads a stream to its end; whether all the rest of its text came."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        choices = [json.loads(data)["choices"][0] async for data in stream.events()]
    return len(choices) == TOKENS and choices[-1]["finish_reason"] == "length"


async def _look(process: psutil.Process, url: str, num_witnesses: int) -> Held:
    seconds: list[float] = []
    for _ in range(num_witnesses):
        began = time.perf_counter()
        async with posted(url, _body(WITNESS)) as stream:
            async for _ in stream.events():
                pass
        seconds.append(time.perf_counter() - began)
    return Held(process.memory_info().rss, process.num_fds(), tuple(seconds))


async def _settled(process: psutil.Process, file_descriptors: int) -> None:
    """Waits until connections that were hung up are closed, if they ever are."""
    for _ in range(200):
        if process.num_fds() <= file_descriptors:
            break
        await asyncio.sleep(0.05)


def _body(prompt: Sequence[int]) -> dict[str, object]:
    return {"prompt": prompt, "max_tokens": TOKENS, "stream": True, "speculative": False}


def main(
    streams: Annotated[int, typer.Option()] = 1000,
    witnesses: Annotated[int, typer.Option(help="Requests of the witness at each of the three moments.")] = 300,
) -> None:
    """Measures and prints."""
    allow_many()  # of this process: the orchestrator sees to itself
    figures = asyncio.run(measure(streams, witnesses))
    console = Console(width=120)
    console.print(f"{figures.num_ended} of {2 * streams} streams ended with their whole text")
    table = Table("", "MiB", "file descriptors", "witness, ms (median)", "witness, ms (95%)")
    for name in ("before", "during", "after", "again"):
        held: Held = getattr(figures, name)
        median, high = 1e3 * np.quantile(held.witness_seconds, [0.5, 0.95])
        table.add_row(
            name, f"{held.memory_bytes / 2**20:.0f}", str(held.file_descriptors), f"{median:.1f}", f"{high:.1f}"
        )
    console.print(table)
    grown = (figures.during.memory_bytes - figures.before.memory_bytes) / streams / 2**10
    taken = (figures.during.file_descriptors - figures.before.file_descriptors) / streams
    console.print(f"a stream: {grown:.0f} KiB, {taken:.2f} file descriptors")


if __name__ == "__main__":
    typer.run(main)
