"""How texts reach an HTTP client, whole or as server-sent events. A client that leaves cancels them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from orchestrator.admission import Place
from orchestrator.openai.answering import EventStream, WhileConnected, logged
from orchestrator.openai.failures import error_response
from orchestrator.openai.figures import metrics_of, usage_of
from orchestrator.openai.served import ServedModel
from orchestrator.openai.shapes import Shape
from orchestrator.openai.texts import Piece, Text, run
from orchestrator.sessions import Sessions


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
    ) -> None:
        super().__init__(place, sessions.readers)
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

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = EventStream(scope, receive, send)

        async def tell(text: Text, piece: Piece | None) -> None:
            await stream.begin()
            if piece is None:
                choice = self._shape.opening(text)
            else:
                choice = self._shape.part(text, piece) if piece != Piece() else None
            if choice is not None:
                await stream.tell(self._shape.chunk([choice], **self._envelope).model_dump_json())

        try:
            await run(self._sessions, self._texts, tell)
        except Exception as error:
            await stream.fail(error)
        else:
            if self._include_usage:
                await stream.tell(self._shape.chunk([], **self._envelope, **self._figures()).model_dump_json())
            await stream.tell("[DONE]")
            await stream.end()


def _joined(pieces: Sequence[Piece]) -> Piece:
    last = pieces[-1]
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Piece("".join(piece.text for piece in pieces), tokens, last.finish_reason, last.stop_reason)
