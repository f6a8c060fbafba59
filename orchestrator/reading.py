"""Clients that read slowly: they pause their own text, and lose their stream when they do not read at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tandem.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Readers:
    """How long clients may leave unread what was written to them."""

    patience_seconds: float = 60.0

    def reader(self) -> Reader:
        """Watches over one stream."""
        return Reader(self.patience_seconds)


class Reader:
    """One stream's reader, as a context manager around all that is written to it by the task that enters.

    A session waits with a write that waits while the client's window and the buffers before it are full, one event in
    hand: no further round is committed, so that nothing piles up. But it holds its place meanwhile, and others wait
    for that. So a write that lasts too long is given up, and leaving the context raises `Unavailable`: the session can
    be resumed where the client can.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._num_writing = 0
        self._since = 0.0
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_gone = False
        """It has read nothing for too long."""

    async def write(self, write: Awaitable[object]) -> None:
        """Waits for a write to be done."""
        if not self._num_writing:
            self._since = asyncio.get_running_loop().time()
        self._num_writing += 1
        try:
            await write
        finally:
            self._num_writing -= 1
            self._since = asyncio.get_running_loop().time()

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._watch(asyncio.get_running_loop().time())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.is_gone and self._task is not None and self._task.uncancel() == 0:
            raise Unavailable(
                f"the stream was left unread for {self._patience_seconds:g} s; resume the session to read on"
            ) from None

    def _watch(self, since: float) -> None:
        # One timer that looks now and then costs less than one for each write.
        self._timer = asyncio.get_running_loop().call_at(since + self._patience_seconds, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        since = self._since if self._num_writing else now
        if now < since + self._patience_seconds:
            self._watch(since)
        elif self._task is not None:
            self.is_gone = True
            self._task.cancel()
