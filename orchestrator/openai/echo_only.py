"""The answer to a request that generates nothing: its prompts, as they were given, with how probable they are."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from orchestrator.openai.answering import EventStream, WhileConnected
from orchestrator.openai.answers import Usage
from orchestrator.openai.completion_body import CompletionRequest
from orchestrator.openai.echo import Echo, Echoes
from orchestrator.openai.figures import usage_of_prompts
from orchestrator.openai.served import ServedModel
from orchestrator.openai.shapes import CompletionShape
from orchestrator.openai.texts import Piece, seeds_of


@dataclass(frozen=True, slots=True)
class _Choice:
    index: int
    seed: int


class EchoOnly(WhileConnected):
    """Of /v1/completions with ``max_tokens`` 0. No session begins; the work ends with the connection."""

    def __init__(self, echoes: Echoes, body: CompletionRequest, served: ServedModel, arrived: float) -> None:
        self._echoes = echoes
        self._body = body
        self._arrived = arrived
        self._envelope = {
            "id": f"cmpl-{secrets.token_urlsafe(16)}",
            "created": int(time.time()),
            "model": served.id,
            "system_fingerprint": served.fingerprint,
        }

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, stream = self._body, EventStream(scope, receive, send)
        try:
            echoes = await self._echoes.of(body.prompt)
        except Exception as error:
            await stream.fail(error)
            return
        count = body.num_choices
        seeds = [seed for _ in echoes for seed in seeds_of(body.seed, count)]
        shape = CompletionShape(body.logprobs, [echo for echo in echoes for _ in range(count)])
        choices = [shape.whole(_Choice(index, seed), Piece(finish_reason="length")) for index, seed in enumerate(seeds)]
        usage = self._usage(echoes, seeds[0])
        if body.stream:
            await self._stream(stream, shape, choices, usage)
        else:
            answer = shape.answer(choices, **self._envelope, usage=usage)
            await JSONResponse(answer.model_dump())(scope, receive, send)

    async def _stream(self, stream: EventStream, shape: CompletionShape, choices: list[Any], usage: Usage) -> None:
        for choice in choices:
            await stream.tell(shape.chunk([choice], **self._envelope).model_dump_json())
        if self._body.include_usage:
            await stream.tell(shape.chunk([], **self._envelope, usage=usage).model_dump_json())
        await stream.tell("[DONE]")
        await stream.end()

    def _usage(self, echoes: list[Echo], seed: int) -> Usage:
        num_tokens = sum(len(echo.token_ids) for echo in echoes)
        return usage_of_prompts(num_tokens, seed, time.monotonic() - self._arrived)
