"""How texts reach an HTTP client, whole or as server-sent events. A client that leaves cancels them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from orchestrator.openai.failures import error_answer, error_response
from orchestrator.openai.figures import metrics_of, usage_of
from orchestrator.openai.served import ServedModel
from orchestrator.openai.shapes import Shape
from orchestrator.openai.texts import Piece, Text, run
from orchestrator.sessions import Sessions
from tandem.errors import TandemError
from tandem.telemetry import logger

_log = logger("orchestrator.openai")

_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # proxies that heed it pass every event on at once
)


class Delivery(Response):
    """Runs the texts of one request and answers it. The texts never outlive the connection."""

    def __init__(
        self, sessions: Sessions, texts: Sequence[Text], shape: Shape, served: ServedModel, num_choices: int
    ) -> None:
        self._sessions = sessions
        self._texts = texts
        self._shape = shape
        self._num_choices = num_choices
        self._envelope = {
            "id": f"{shape.id_prefix}{texts[0].session.session_id}",
            "created": int(time.time()),
            "model": served.id,
            "system_fingerprint": served.fingerprint,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers; ends early, and all texts with it, when the client is gone."""
        work = asyncio.create_task(self._answer(scope, receive, send), name="answer over HTTP")
        left = asyncio.create_task(_left(receive), name="client of an answer")
        try:
            await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            left.cancel()
            results = await asyncio.gather(work, left, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    def _figures(self) -> dict[str, Any]:
        usage = usage_of(self._texts, self._num_choices)
        return {"usage": usage, "metrics": metrics_of(self._texts, usage)}


class Whole(Delivery):
    """All at once, as JSON."""

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        heard: dict[int, list[Piece]] = {text.index: [] for text in self._texts}

        async def tell(text: Text, piece: Piece | None) -> None:
            if piece is not None:
                heard[text.index].append(piece)

        try:
            await run(self._sessions, self._texts, tell)
        except Exception as error:
            response = error_response(logged(error))
        else:
            choices = [self._shape.whole(text, _joined(heard[text.index])) for text in self._texts]
            answer = self._shape.answer(choices, **self._envelope, **self._figures())
            response = JSONResponse(answer.model_dump())
        await response(scope, receive, send)


class Streamed(Delivery):
    """As server-sent events: what is committed, at once. The head waits for the first event, and may still be an error.

    An error after that is an event of its own, with no ``[DONE]`` behind it.
    """

    def __init__(self, *arguments: Any, include_usage: bool) -> None:
        super().__init__(*arguments)
        self._include_usage = include_usage
        self._begun = False

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(text: Text, piece: Piece | None) -> None:
            await self._begin(send)
            if piece is None:
                choice = self._shape.opening(text)
            else:
                choice = self._shape.part(text, piece) if piece != Piece() else None
            if choice is not None:
                await _event(send, self._shape.chunk([choice], **self._envelope).model_dump_json())

        try:
            await run(self._sessions, self._texts, tell)
        except Exception as error:
            failed = logged(error)
            if not self._begun:
                await error_response(failed)(scope, receive, send)
                return
            await _event(send, error_answer(failed).model_dump_json())
        else:
            if self._include_usage:
                await _event(send, self._shape.chunk([], **self._envelope, **self._figures()).model_dump_json())
            await _event(send, "[DONE]")
        await send({"type": "http.response.body", "body": b""})

    async def _begin(self, send: Send) -> None:
        if not self._begun:
            self._begun = True
            await send({"type": "http.response.start", "status": 200, "headers": list(_STREAM_HEADERS)})


def logged(error: Exception) -> Exception:
    """The error, once the log has it, unless it was raised on purpose."""
    if not isinstance(error, TandemError):
        _log.error("a request over HTTP failed unexpectedly", exc_info=error)
    return error


def _joined(pieces: Sequence[Piece]) -> Piece:
    last = pieces[-1]
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Piece("".join(piece.text for piece in pieces), tokens, last.finish_reason, last.stop_reason)


async def _event(send: Send, data: str) -> None:
    # Waits while the client's window and buffer are full; the text waits with it.
    await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
