"""One side of a bidirectional stream: what waits to be written, bounded, and how reading and writing end together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from tandem.errors import InvariantBroken, Overloaded, TandemError
from tandem.telemetry import logger

_log = logger("tandem.rpc")

Message = TypeVar("Message")
Request = TypeVar("Request")

MAX_WAITING = 4096
"""Messages that may wait for a peer that does not read; over it the stream is ended."""

MAX_BACKLOG = 8192
"""Requests, of all streams together, that may wait to be worked on; over it nobody is read from."""
PACE_SECONDS = 0.005


class Outbox(Generic[Message]):
    """Messages to be written to one stream, in order. Belongs to the event loop."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._messages: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = False
        self._error: TandemError | None = None

    def put(self, message: Message) -> None:
        """Appends a message; after `end`, does nothing. A peer that does not read is cut off."""
        if self._ended:
            return
        self._messages.append(message)
        self._wake.set()
        if len(self._messages) > self._max_waiting // 2:
            self._room.clear()
        if len(self._messages) > self._max_waiting:
            self._messages.clear()
            self.end(Overloaded(f"the peer left {self._max_waiting} answers unread"))

    def end(self, error: TandemError | None = None) -> None:
        """Ends the stream once all is written: well, or with an error. The first call counts."""
        if not self._ended:
            self._ended = True
            self._error = error
            self._wake.set()
            self._room.set()

    async def room(self) -> None:
        """Waits until less than half of what may wait does: then it is time to read on."""
        if not self._room.is_set():
            await self._room.wait()

    async def pump(self, write: Callable[[Message], Awaitable[object]]) -> None:
        """Writes messages until `end`.

        Raises:
            TandemError: the one that `end` was given.
        """
        while True:
            while self._messages:
                await write(self._messages.popleft())
                if not self._room.is_set() and len(self._messages) <= self._max_waiting // 2:
                    self._room.set()
            if self._ended:
                break
            self._wake.clear()
            await self._wake.wait()
        if self._error is not None:
            raise self._error


async def paced(requests: AsyncIterator[Request], backlog: Callable[[], int]) -> AsyncIterator[Request]:
    """The same requests, no faster than they are worked off: pauses while more than `MAX_BACKLOG` wait."""
    async for request in requests:
        yield request
        while backlog() > MAX_BACKLOG:  # noqa: ASYNC110 (it shrinks in another thread, which has better things to do)
            await asyncio.sleep(PACE_SECONDS)


async def exchange(
    requests: AsyncIterator[Request],
    write: Callable[[Message], Awaitable[object]],
    outbox: Outbox[Message],
    accept: Callable[[Request], None],
    finished: Callable[[], None],
) -> None:
    """Serves one stream: requests go to ``accept``, the outbox is written, until the outbox ends.

    ``finished`` is called once, when no further request will come: the peer has closed its side, or is gone. It sees
    to it that the outbox ends. An error that ``accept`` raises ends the stream with it.
    """
    told = False

    def finish() -> None:
        nonlocal told
        if not told:
            told = True
            finished()

    async def read() -> None:
        try:
            async for request in requests:
                accept(request)
                await outbox.room()
        except TandemError as error:
            outbox.end(error)
        except Exception as error:
            _log.error("reading a stream failed", exc_info=error)
            outbox.end(InvariantBroken("an unexpected failure; the service's log has it"))
        finally:
            finish()

    reader = asyncio.ensure_future(read())
    try:
        await outbox.pump(write)
    finally:
        reader.cancel()
        finish()
