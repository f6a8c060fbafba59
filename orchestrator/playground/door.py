"""The playground's routes: the page, and what it asks for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from orchestrator.openai.answering import answering, place_for
from orchestrator.openai.parsing import read_request
from orchestrator.openai.served import ServedModel
from orchestrator.playground import page
from orchestrator.playground.bodies import GenerateBody, QueryBody, ResumeBody, SessionBody
from orchestrator.playground.choices import choices
from orchestrator.playground.examples import Examples
from orchestrator.playground.following import Followed
from orchestrator.playground.token_texts import SingleTokens
from orchestrator.sessions import GenerationRequest, Sessions
from tandem.decoding.values import Speculation
from tandem.errors import ModelRefused, NotFound
from tandem.models import shipped
from tandem.tokenization import Tokenizer, tokenizer_digest


class Playground:
    """The handlers. Owner: the orchestrator, which closes it."""

    def __init__(
        self, sessions: Sessions, tokenizer: Tokenizer, defaults: Speculation, served: Callable[[], ServedModel]
    ) -> None:
        """``served``: the model as it is served now."""
        self._sessions = sessions
        self._tokenizer = tokenizer
        self._singles = SingleTokens(tokenizer)
        self._defaults = defaults
        self._served = served
        self._examples = Examples() if _is_shipped(tokenizer) else None

    def close(self) -> None:
        """Ends its threads."""
        if self._examples is not None:
            self._examples.close()

    @property
    def open_paths(self) -> list[str]:
        """The page and its files: they are the same for everybody, and whoever opens them is yet to type a key."""
        return [route.path for route in page.routes()]

    def routes(self) -> list[BaseRoute]:
        """``/`` and ``/playground/…``."""
        return [
            *page.routes(),
            Route("/playground/choices", answering(self._choices)),
            Route("/playground/examples", answering(self._list_examples)),
            Route("/playground/generate", answering(self._generate), methods=["POST"]),
            Route("/playground/resume", answering(self._resume), methods=["POST"]),
            Route("/playground/stop", answering(self._stop), methods=["POST"]),
            Route("/playground/query", answering(self._query), methods=["POST"]),
        ]

    async def _choices(self, request: Request) -> Response:
        with_examples = self._examples is not None
        return JSONResponse(choices(self._served(), self._defaults, with_examples=with_examples))

    async def _list_examples(self, request: Request) -> Response:
        found = await asyncio.to_thread(self._examples.listed) if self._examples is not None else []
        return JSONResponse(found)

    async def _generate(self, request: Request) -> Response:
        arrived = time.monotonic()
        body = await read_request(request, GenerateBody)
        place = await place_for(request, self._sessions.admission)
        try:
            session = await self._sessions.start(GenerationRequest(body.prompt, body.options, arrived))
        except BaseException:
            place.free()
            raise
        return Followed(place, self._sessions, session, self._tokenizer, self._singles)

    async def _resume(self, request: Request) -> Response:
        arrived = time.monotonic()
        body = await read_request(request, ResumeBody)
        digest = bytes.fromhex(body.digest)
        place = await place_for(request, self._sessions.admission, returning=True)
        try:
            session = await self._sessions.resume(body.session_id, body.position, digest, (), arrived=arrived)
        except BaseException:
            place.free()
            raise
        return Followed(place, self._sessions, session, self._tokenizer, self._singles, body.position)

    async def _stop(self, request: Request) -> Response:
        body = await read_request(request, SessionBody)
        await self._sessions.cancel(body.session_id)
        return Response(status_code=204)

    async def _query(self, request: Request) -> Response:
        body = await read_request(request, QueryBody)
        if self._examples is None:
            raise NotFound("there are no examples here: they belong to the shipped pair")
        return JSONResponse(await self._examples.run(body.example, body.sql))


def _is_shipped(tokenizer: Tokenizer) -> bool:
    """Whether the models read as the shipped pair does, so that its questions mean something to them."""
    try:
        return tokenizer.digest == tokenizer_digest(shipped("target"))
    except ModelRefused:
        return False
