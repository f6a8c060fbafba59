"""A TCP proxy that is a bad network: it delays with jitter, cuts connections, and holds a direction back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

CHUNK_BYTES = 65536


@dataclass
class Network:
    """How it behaves now; may be changed at any time."""

    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    """At most so much more, drawn for each piece; what was sent first arrives first all the same."""
    holds_requests: bool = False
    """Nothing gets through to the server; it arrives once this is over."""
    holds_answers: bool = False
    held_pid: int | None = None
    """Whose connections are held back; None is everybody's."""
    num_held: int = 0
    """Pieces that were held back so far."""
    random: random.Random = field(default_factory=lambda: random.Random(1))


class BadNetwork:
    """In front of one server. Owner of its connections, from `start` to `close`."""

    def __init__(self, port: int, upstream: int) -> None:
        self.port = port
        self.network = Network()
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut(self) -> bool:
        """Resets one connection, drawn from those that are open; False where none is."""
        if not self._connections:
            return False
        task = self.network.random.choice(list(self._connections))
        self._connections[task].transport.abort()
        task.cancel()
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self._upstream)
            meant = _Owner(writer.get_extra_info("peername")[1], self.network)
            requests_end = asyncio.create_task(
                self._pipe(reader, upstream, lambda: self.network.holds_requests and meant.is_held)
            )
            answers_end = asyncio.create_task(
                self._pipe(answers, writer, lambda: self.network.holds_answers and meant.is_held)
            )
            try:
                await asyncio.wait((requests_end, answers_end), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pipe in (requests_end, answers_end):
                    pipe.cancel()
                await asyncio.gather(requests_end, answers_end, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # the server is down, or the connection was cut
        finally:
            del self._connections[task]
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, held: Callable[[], bool]) -> None:
        """One direction, until either side ends it."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def receive() -> None:
            while piece := await reader.read(CHUNK_BYTES):
                delay = self.network.delay_seconds + self.network.random.uniform(0, self.network.jitter_seconds)
                pieces.put_nowait((clock() + delay, piece))

        async def send() -> None:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0.0, due - clock()))
                self.network.num_held += held()
                while held():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                writer.write(piece)
                await writer.drain()

        await _first_of(receive, send)


class _Owner:
    """Whose connection it is that comes from a port of this machine, looked up when it first matters."""

    def __init__(self, port: int, network: Network) -> None:
        self._port = port
        self._network = network
        self._found: dict[int, bool] = {}

    @property
    def is_held(self) -> bool:
        pid = self._network.held_pid
        if pid is not None and pid not in self._found:
            ends = psutil.Process(pid).net_connections("tcp")
            self._found[pid] = any(end.laddr.port == self._port for end in ends)
        return pid is None or self._found[pid]


async def _first_of(*parts: Callable[[], Awaitable[None]]) -> None:
    tasks = [asyncio.ensure_future(part()) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
