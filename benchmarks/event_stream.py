"""The least that reads server-sent events: a load generator must cost less than what it measures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any


class EventStream:
    """A request under way over a connection of its own."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def events(self) -> AsyncIterator[str]:
        """The data of each event until ``[DONE]``. This server sends every event as one chunk, so that lines are whole.

        Raises:
            RuntimeError: the answer is not a stream, or ends early.
        """
        while True:
            line = await self._reader.readline()
            if line == b"data: [DONE]\n":
                return
            if line.startswith(b"data: "):
                yield line[6:].decode()
            elif not line or (line.startswith(b"HTTP/") and b" 200 " not in line):
                raise RuntimeError(f"no stream: {line.decode() or 'the connection was closed'}")


@asynccontextmanager
async def posted(url: str, body: Mapping[str, Any]) -> AsyncIterator[EventStream]:
    """Sends a body to ``http://host:port/path``; hangs up at the end."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.rpartition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    try:
        data = json.dumps(body).encode()
        writer.write(f"POST /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()
        yield EventStream(reader)
    finally:
        writer.close()
        await writer.wait_closed()
