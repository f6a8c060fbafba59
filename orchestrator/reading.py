"""Clients that read slowly: they pause their own text, and lose their stream when they do not read at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from tandem.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Readers:
    """How long a client may leave unread what was written to it."""

    patience_seconds: float = 60.0

    async def written(self, write: Awaitable[object]) -> None:
        """Waits for a write, which waits while the client's window and the buffers before it are full.

        A session waits with it, one event in hand: no further round is committed, so that nothing piles up. But it
        holds its place meanwhile, and others wait for that.

        Raises:
            Unavailable: nothing was read for too long. The session can be resumed where the client can.
        """
        try:
            async with asyncio.timeout(self.patience_seconds):
                await write
        except TimeoutError:
            raise Unavailable(
                f"the stream was left unread for {self.patience_seconds:g} s; resume the session to read on"
            ) from None
