"""Plain HTTP, as a client without a library speaks it."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object; nothing stands beside it."""
        (name,) = self.json
        assert name == "error"
        assert set(self.json["error"]) == {"message", "type", "param", "code"}
        found: dict[str, Any] = self.json["error"]
        return found

    @property
    def events(self) -> list[Any]:
        """The data of the server-sent events, JSON read."""
        assert self.headers["content-type"].startswith("text/event-stream")
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == ""
        assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
        told = [block.removeprefix("data: ") for block in blocks]
        return [one if one == "[DONE]" else json.loads(one) for one in told]


def send(url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """GET, or POST where there is a body: bytes as they are, anything else as JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} | dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())


_CLIENTS = ThreadPoolExecutor(64, "http client")


async def ask(url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """As `send`, of a server that runs in this event loop, and may itself need the loop's own threads to answer."""
    return await asyncio.get_running_loop().run_in_executor(_CLIENTS, send, url, body, headers)


class Connection:
    """A request under way, which can be left at any time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def post(cls, url: str, body: Any) -> Connection:
        host, _, rest = url.removeprefix("http://").partition("/")
        name, _, port = host.rpartition(":")
        reader, writer = await asyncio.open_connection(name, int(port))
        data = json.dumps(body).encode()
        head = f"POST /{rest} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()
        return cls(reader, writer)

    async def event(self) -> Any:
        """The next server-sent event."""
        while True:
            line = await self._reader.readline()
            assert line, "the stream ended"
            if line.startswith(b"data: {"):
                return json.loads(line.removeprefix(b"data: "))

    async def leave(self) -> None:
        """Hangs up."""
        self._writer.close()
        await self._writer.wait_closed()
