"""How this server answers: errors as answers, work that ends with its client's connection, server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Self

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.admission import Admission, Place
from orchestrator.openai.failures import error_answer, error_response
from orchestrator.reading import Readers
from tandem.errors import Cancelled, TandemError, Unavailable
from tandem.telemetry import logger

Handler = Callable[[Request], Awaitable[Response]]

_log = logger("orchestrator.openai")

KEEP_ALIVE_SECONDS = 15.0
"""After which a stream that has nothing to tell says that it is there."""

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies that heed it pass every event on at once
)


def answering(handler: Handler) -> Handler:
    """The handler, whose errors are answers."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Exception as error:
            return error_response(logged(error))

    return answer


def logged(error: Exception) -> Exception:
    """The error, once the log has it, unless it was raised on purpose."""
    if not isinstance(error, TandemError):
        _log.error("a request over HTTP failed unexpectedly", exc_info=error)
    return error


async def place_for(
    request: Request, admission: Admission, count: int = 1, deadline: float | None = None, *, returning: bool = False
) -> Place:
    """A place for so many sessions of a request whose body has been read, while its client waits for it.

    ``deadline`` is by `time.monotonic`.

    Raises:
        TandemError: as `Admission.enter`. Cancelled: the client left.
    """
    turn = asyncio.ensure_future(admission.enter(count, deadline, returning=returning))
    left = asyncio.ensure_future(_left(request.receive))
    try:
        await asyncio.wait((turn, left), return_when=asyncio.FIRST_COMPLETED)
        if turn.done():
            return turn.result()
        raise Cancelled("the client left before it was its request's turn")
    finally:
        turn.cancel()
        left.cancel()


class WhileConnected(Response):
    """An answer that is made while its client waits: when the client leaves, its making is cancelled."""

    def __init__(self, place: Place | None, readers: Readers) -> None:
        """Takes over the place of the sessions that it runs; None where it runs none."""
        self._place = place
        self._readers = readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or ends early when the client is gone."""
        work = asyncio.create_task(self._answer_reader(scope, receive, send), name="answer over HTTP")
        left = asyncio.create_task(_left(receive), name="client of an answer")
        try:
            await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            left.cancel()
            results = await asyncio.gather(work, left, return_exceptions=True)
            if self._place is not None:
                self._place.free()
        if isinstance(results[0], Exception):
            raise results[0]

    async def _answer_reader(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = self._readers.reader()
        try:
            with reader:
                await self._answer(scope, receive, lambda message: reader.write(send(message)))
        except Unavailable:
            if not reader.is_gone:  # else nobody would hear of it; the server closes what ends unfinished
                raise

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError


class EventStream:
    """Server-sent events. The head waits for the first one, and may still be an error.

    An error after that is an event of its own, the last one. Use as an async context manager: within it, a stream that
    has nothing to tell sends a comment now and then, which readers pass over and for which proxies keep it open.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._connection = scope, receive, send
        self._send = send
        self._begun = False
        self._sent_at = 0.0
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def begin(self) -> None:
        """Sends the head. Safe to repeat."""
        if not self._begun:
            self._begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(_STREAM_HEADERS)})
            self._sent_at = time.monotonic()
            self._keeper = asyncio.create_task(self._keep_alive(), name="keeps an event stream alive")

    async def tell(self, data: str) -> None:
        """Sends an event. Waits while the client's window and buffer are full; the text waits with it."""
        await self.begin()
        self._sent_at = time.monotonic()
        await self._write(f"data: {data}\n\n")

    async def fail(self, error: Exception) -> None:
        """Ends with an error: a whole answer where nothing has been sent, the last event otherwise."""
        failed = logged(error)
        if not self._begun:
            await error_response(failed)(*self._connection)
        else:
            await self.tell(error_answer(failed).model_dump_json())
            await self.end()

    async def end(self) -> None:
        """Ends the body."""
        if self._keeper is not None:
            self._keeper.cancel()
        await self._send({"type": "http.response.body", "body": b""})

    async def _keep_alive(self) -> None:
        while True:
            quiet_seconds = time.monotonic() - self._sent_at
            if quiet_seconds >= KEEP_ALIVE_SECONDS:
                self._sent_at = time.monotonic()
                await self._write(": keep-alive\n\n")
            else:
                await asyncio.sleep(KEEP_ALIVE_SECONDS - quiet_seconds)

    async def _write(self, text: str) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
