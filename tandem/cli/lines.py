"""``tandem generate --jsonl``: a prompt a line in, a JSON line a text out, in the order of the input."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from rich.console import Console

from tandem.cli.answering import Answerer, answerer
from tandem.cli.source import Source
from tandem.errors import InvalidArgument, TandemError
from tandem.generation import Options

BROKEN_PIPE = 128 + 13
"""Exit code of a command whose reader has gone, as shells tell it of those that SIGPIPE ends."""
_WAITING_PER_PLACE = 16
"""Texts done that may wait for an earlier one, for each text at once: what bounds memory."""

Reading = Callable[[str], tuple[str | list[int], Options]]


@dataclass
class Tally:
    """What has come of the input so far."""

    done: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return f"{self.done} done" + (f", {self.failed} failed" if self.failed else "")


_Line: type[BaseModel] = create_model(  # type: ignore[call-overload]
    "_Line",
    __config__=ConfigDict(extra="forbid", strict=True),
    prompt=(str | list[int], ...),
    **{name: (kind, None) for name, kind in get_type_hints(Options).items()},
)


def read_json(line: str) -> tuple[str | list[int], Options]:
    """``{"prompt": text or ids, …}`` with any of `Options`.

    Raises:
        InvalidArgument: it is something else; the message names the field.
    """
    try:
        given = _Line.model_validate_json(line).model_dump(exclude_unset=True, exclude_none=True)
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"][:1])
        raise InvalidArgument(f"{where or 'the line'}: {found['msg']}", where) from None
    return given.pop("prompt"), cast(Options, given)


def read_plain(line: str) -> tuple[str | list[int], Options]:
    """The line itself is the prompt."""
    return line, Options()


def generate_lines(source: Source, settings: Mapping[str, Any], concurrency: int, read: Reading) -> int:
    """Answers standard input on standard output; returns the exit code: 1 where an input could not be answered.

    A line's own options win over ``settings``. Blank lines are passed over.
    """
    try:
        return asyncio.run(_generate_lines(source, settings, concurrency, read))
    except BrokenPipeError:
        # The interpreter flushes once more when it ends: that must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


async def _generate_lines(source: Source, settings: Mapping[str, Any], concurrency: int, read: Reading) -> int:
    console = Console(stderr=True)
    tally = Tally()
    places = asyncio.Semaphore(concurrency)
    async with answerer(source) as answering:
        tasks: asyncio.Queue[asyncio.Task[dict[str, Any]] | None] = asyncio.Queue(_WAITING_PER_PLACE * concurrency)
        with console.status(str(tally)) as status:  # shows nothing where stderr is no terminal
            async with asyncio.TaskGroup() as group:

                async def begin() -> None:
                    async for line in _lines():
                        await places.acquire()
                        task = group.create_task(_answered(answering, line, settings, read))
                        task.add_done_callback(lambda _: places.release())
                        await tasks.put(task)
                    await tasks.put(None)

                beginning = group.create_task(begin())
                try:
                    while (task := await tasks.get()) is not None:
                        result = await task
                        tally.done += "error" not in result
                        tally.failed += "error" in result
                        sys.stdout.write(json.dumps(result) + "\n")
                        sys.stdout.flush()
                        status.update(str(tally))
                except BrokenPipeError:
                    broken = True
                    beginning.cancel()
                    while not tasks.empty():
                        if (left := tasks.get_nowait()) is not None:
                            left.cancel()
                else:
                    broken = False
    if broken:
        raise BrokenPipeError
    if console.is_terminal:
        console.print(str(tally), style="dim", highlight=False)
    return 1 if tally.failed else 0


async def _answered(answering: Answerer, line: bytes, settings: Mapping[str, Any], read: Reading) -> dict[str, Any]:
    """The object to write for one line."""
    try:
        prompt, options = read(line.decode())
        async with answering.ask(prompt, cast(Options, {**settings, **options})) as answer:
            async for _ in answer:
                pass
            return dataclasses.asdict(answer.generation)
    except UnicodeDecodeError as error:
        return {"error": f"the line is not UTF-8: {error}"}
    except TandemError as error:
        return {"error": str(error)}


async def _lines() -> AsyncIterator[bytes]:
    """Lines of standard input as they come, without their ends and without blank ones.

    They are read ahead by one, in a thread that dies with the process: a read that waits cannot be called off.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)

    def read() -> None:
        # Not sys.stdin: the interpreter waits for its lock when it ends.
        # Whatever waits for the loop when that ends is called off.
        with open(os.dup(0), "rb") as stdin, suppress(RuntimeError, CancelledError):
            for line in stdin:
                asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()
            asyncio.run_coroutine_threadsafe(queue.put(None), loop).result()

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while (line := await queue.get()) is not None:
        if line.strip():
            yield line.rstrip(b"\r\n")
