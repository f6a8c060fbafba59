"""The routes of the OpenAI-compatible door: read, check, run, answer."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.openai.answering import answering, place_for
from orchestrator.openai.answers import Model, ModelList
from orchestrator.openai.arrival import Arrival
from orchestrator.openai.bodies import Sampled
from orchestrator.openai.chat_body import ChatCompletionRequest
from orchestrator.openai.completion_body import CompletionRequest
from orchestrator.openai.delivery import Delivery, Streamed, Whole
from orchestrator.openai.echo import Echo, Echoes
from orchestrator.openai.echo_only import EchoOnly
from orchestrator.openai.failures import BadRequest, UnknownModel, refusal
from orchestrator.openai.openapi import document
from orchestrator.openai.parsing import discard_body, read_request
from orchestrator.openai.served import ServedModel
from orchestrator.openai.shapes import ChatShape, CompletionShape, Shape
from orchestrator.openai.texts import Asked, Text, begin
from orchestrator.scoring import Scoring
from orchestrator.sessions import Sessions
from tandem.chat_template import ChatTemplate
from tandem.errors import TandemError
from tandem.generation import Options
from tandem.tokenization import Tokenizer

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


class OpenAIDoor:
    """The handlers. They hold nothing between requests."""

    def __init__(
        self,
        sessions: Sessions,
        scoring: Scoring,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        served: Callable[[], ServedModel],
    ) -> None:
        """``template``: the model's own, None where it has none; ``served``: the model as it is served now."""
        self._sessions = sessions
        self._scoring = scoring
        self._tokenizer = tokenizer
        self._template = template
        self._served = served
        self._created = int(time.time())

    def routes(self) -> list[BaseRoute]:
        """``/v1/…`` and ``/openapi.json``."""
        routes = [
            Route("/completions", answering(self._complete), methods=["POST"]),
            Route("/chat/completions", answering(self._chat), methods=["POST"]),
            Route("/models", answering(self._models)),
            Route("/models/{model:path}", answering(self._model)),
        ]
        v1 = Starlette(routes=routes, exception_handlers={HTTPException: no_such_route})
        v1.router.redirect_slashes = False
        return [Mount("/v1", _NamedRequests(v1)), Route("/openapi.json", self._openapi)]

    async def _complete(self, request: Request) -> Response:
        arrival = Arrival.of(request)
        await self._check_room(request)
        body = await read_request(request, CompletionRequest)
        served = self._check_model(body)
        if body.max_tokens == 0:
            await self._sessions.check_options(body.options | Options(max_tokens=None))
            echoes = Echoes(self._scoring, self._tokenizer, body.logprobs, arrival.deadline, is_all=True)
            return EchoOnly(self._sessions.readers, echoes, body, served, arrival)
        asked = Asked(body.prompt, body.num_choices, body.options, body.seed)
        return await self._deliver(request, body, asked, CompletionShape(body.logprobs), served, arrival)

    async def _chat(self, request: Request) -> Response:
        arrival = Arrival.of(request)
        await self._check_room(request)
        body = await read_request(request, ChatCompletionRequest)
        served = self._check_model(body)
        template = self._template
        if template is None:
            raise BadRequest(
                f"{served.id} has no chat template, so that nobody knows how it reads conversations; write the prompt "
                "yourself and send it to /v1/completions",
                "messages",
                "no_chat_template",
            )
        messages = [{"role": message.role, "content": message.content} for message in body.messages]
        # A template is a program of unknown length: it runs where nobody waits for it.
        prompt = await asyncio.to_thread(template.render, messages)
        asked = Asked([prompt], body.num_choices, body.options, body.seed, add_special_tokens=False)
        return await self._deliver(request, body, asked, ChatShape(bool(body.logprobs)), served, arrival)

    async def _models(self, request: Request) -> Response:
        return JSONResponse(ModelList(data=[self._described()]).model_dump())

    async def _model(self, request: Request) -> Response:
        self._check_name(request.path_params["model"])
        return JSONResponse(self._described().model_dump())

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(document())

    async def _check_room(self, request: Request) -> None:
        try:
            self._sessions.admission.check()
        except TandemError:
            await discard_body(request)
            raise

    async def _deliver(
        self,
        request: Request,
        body: Sampled,
        asked: Asked,
        shape: ChatShape | CompletionShape,
        served: ServedModel,
        arrival: Arrival,
    ) -> Delivery:
        tokenizer = self._tokenizer if shape.with_log_probs else None
        place = await place_for(request, self._sessions.admission, asked.num_texts, arrival.deadline)
        try:
            texts = await begin(self._sessions, asked, arrival, tokenizer)
        except BaseException:
            place.free()
            raise

        async def prepare() -> Shape:
            if isinstance(body, CompletionRequest) and isinstance(shape, CompletionShape) and body.echo:
                return replace(shape, echoed=await self._echoed(body, texts, arrival.deadline))
            return shape

        answered: Shape = shape
        arguments = (place, self._sessions, texts, answered, served, asked.num_choices, prepare)
        if body.stream:
            return Streamed(*arguments, include_usage=body.include_usage)
        return Whole(*arguments)

    async def _echoed(self, body: CompletionRequest, texts: Sequence[Text], deadline: float | None) -> list[Echo]:
        """The prompt of each choice."""
        first = texts[:: body.num_choices]
        target = first[0].session.target
        echoes = Echoes(self._scoring, self._tokenizer, body.logprobs, deadline, is_all=False, target=target)
        # A prompt that is scored is shown by the tokens that are gone on from, any other as it was given.
        as_read = [text.session.prompt_token_ids for text in first]
        return await echoes.of(body.prompt if body.logprobs is None else as_read, body.num_choices)

    def _check_model(self, body: Sampled) -> ServedModel:
        return self._served() if body.model is None else self._check_name(body.model)

    def _check_name(self, name: str) -> ServedModel:
        served = self._served()
        if name != served.id:
            raise UnknownModel(f"the model {name[:200]!r} is not served here; {served.id!r} is")
        return served

    def _described(self) -> Model:
        served = self._served()
        return Model(id=served.id, created=self._created, max_model_len=served.max_positions)


async def no_such_route(request: Request, error: Exception) -> Response:
    """Answers a path, or a verb, that nobody serves."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = f"{request.method} {request.url.path[:200]} is not served; /openapi.json lists what is"
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse(refusal(what, "invalid_request_error", "not_found").model_dump(), status, headers)


class _NamedRequests:
    """Gives every answer, and log line of its making, the ``X-Request-Id`` of its request, or one of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        name = given if _REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"

        structlog.contextvars.bind_contextvars(request_id=name)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-request-id", name.encode("latin-1"))]}
            await send(message)

        await self._app(scope, receive, named)
