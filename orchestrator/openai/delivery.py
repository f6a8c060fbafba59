"""How texts reach an HTTP client, whole or as server-sent events. A client that leaves cancels them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.admission import Place
from orchestrator.openai.answering import EventStream, WhileConnected, logged
from orchestrator.openai.failures import error_response
from orchestrator.openai.figures import metrics_of, usage_of
from orchestrator.openai.served import ServedModel
from orchestrator.openai.shapes import Shape
from orchestrator.openai.texts import Piece, Text, run
from orchestrator.sessions import Sessions

Prepare = Callable[[], Awaitable[Shape]]


_Made = TypeVar("_Made")


class Delivery(WhileConnected):
    """Runs the texts of one request and answers it. The texts never outlive the connection."""

    def __init__(
        self,
        place: Place,
        sessions: Sessions,
        texts: Sequence[Text],
        shape: Shape,
        served: ServedModel,
        num_choices: int,
        prepare: Prepare,
    ) -> None:
        """``prepare`` is awaited before any text begins, and gives the shape in which they are answered."""
        super().__init__(place, sessions.readers)
        self._sessions = sessions
        self._texts = texts
        self._shape = shape
        self._prepare = prepare
        self._num_choices = num_choices
        self._envelope = {
            "id": f"{shape.id_prefix}{texts[0].session.session_id}",
            "created": int(time.time()),
            "model": served.id,
            "system_fingerprint": served.fingerprint,
        }

    def _figures(self) -> dict[str, Any]:
        usage = usage_of(self._texts, self._num_choices)
        return {"usage": usage, "metrics": metrics_of(self._texts, usage)}

    async def _made(self, make: Callable[[], _Made]) -> _Made:
        """Something of an answer. With log-probabilities it may have megabytes: then where nobody waits for it."""
        return await asyncio.to_thread(make) if self._shape.with_log_probs else make()


class Whole(Delivery):
    """All at once, as JSON."""

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        heard: dict[int, list[Piece]] = {text.index: [] for text in self._texts}

        async def tell(text: Text, piece: Piece | None) -> None:
            if piece is not None:
                heard[text.index].append(piece)

        try:
            self._shape = await self._prepare()
            await run(self._sessions, self._texts, tell)
        except Exception as error:
            response: Response = error_response(logged(error))
        else:
            body = await self._made(lambda: self._written(heard))
            response = Response(body, media_type="application/json")
        await response(scope, receive, send)

    def _written(self, heard: Mapping[int, Sequence[Piece]]) -> str:
        choices = [self._shape.whole(text, _joined(heard[text.index])) for text in self._texts]
        return self._shape.answer(choices, **self._envelope, **self._figures()).model_dump_json()


class Streamed(Delivery):
    """As server-sent events: what is committed, at once. The head waits for the first event, and may still be an error.

    An error after that is an event of its own, with no ``[DONE]`` behind it.
    """

    def __init__(self, *arguments: Any, include_usage: bool) -> None:
        super().__init__(*arguments)
        self._include_usage = include_usage

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with EventStream(scope, receive, send) as stream:
            await self._stream(stream)

    async def _stream(self, stream: EventStream) -> None:
        async def tell(text: Text, piece: Piece | None) -> None:
            await stream.begin()
            if piece is None:
                event = await self._made(lambda: self._event(lambda: self._shape.opening(text)))
            else:
                event = self._event(lambda: self._shape.part(text, piece)) if piece != Piece() else None
            if event is not None:
                await stream.tell(event)

        try:
            self._shape = await self._prepare()
            await run(self._sessions, self._texts, tell)
        except Exception as error:
            await stream.fail(error)
        else:
            if self._include_usage:
                await stream.tell(self._shape.chunk([], **self._envelope, **self._figures()).model_dump_json())
            await stream.tell("[DONE]")
            await stream.end()

    def _event(self, choice_of: Callable[[], Any | None]) -> str | None:
        choice = choice_of()
        return None if choice is None else self._shape.chunk([choice], **self._envelope).model_dump_json()


def _joined(pieces: Sequence[Piece]) -> Piece:
    last = pieces[-1]
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Piece("".join(piece.text for piece in pieces), tokens, last.finish_reason, last.stop_reason)
