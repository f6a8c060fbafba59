"""The answer to a request that generates nothing: its prompts, as they were given, with how probable they are."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.openai.answering import EventStream, WhileConnected
from orchestrator.openai.answers import CompletionChoice, Usage
from orchestrator.openai.arrival import Arrival
from orchestrator.openai.completion_body import CompletionRequest
from orchestrator.openai.echo import Echo, Echoes
from orchestrator.openai.figures import usage_of_prompts
from orchestrator.openai.served import ServedModel
from orchestrator.openai.shapes import CompletionShape
from orchestrator.openai.texts import Piece, seeds_of
from orchestrator.reading import Readers


@dataclass(frozen=True, slots=True)
class _Choice:
    index: int
    seed: int


class EchoOnly(WhileConnected):
    """Of /v1/completions with ``max_tokens`` 0. No session begins; the work ends with the connection."""

    def __init__(
        self, readers: Readers, echoes: Echoes, body: CompletionRequest, served: ServedModel, arrival: Arrival
    ) -> None:
        super().__init__(None, readers)
        self._echoes = echoes
        self._body = body
        self._arrival = arrival
        self._envelope = {
            "id": f"cmpl-{secrets.token_urlsafe(16)}",
            "created": int(time.time()),
            "model": served.id,
            "system_fingerprint": served.fingerprint,
        }

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, stream = self._body, EventStream(scope, receive, send)
        try:
            echoes = await self._echoes.of(body.prompt, body.num_choices)
        except Exception as error:
            await stream.fail(error)
            return
        # With log-probabilities it may have megabytes: written where nobody waits for it.
        if not body.stream:
            written = await asyncio.to_thread(self._whole, echoes)
            await Response(written, media_type="application/json")(scope, receive, send)
            return
        for event in await asyncio.to_thread(self._events, echoes):
            await stream.tell(event)
        await stream.tell("[DONE]")
        await stream.end()

    def _whole(self, echoes: Sequence[Echo]) -> str:
        shape, choices = self._choices(echoes)
        usage = self._usage(echoes, choices[0].seed)
        return shape.answer(choices, **self._envelope, usage=usage).model_dump_json()

    def _events(self, echoes: Sequence[Echo]) -> list[str]:
        shape, choices = self._choices(echoes)
        events = [shape.chunk([choice], **self._envelope) for choice in choices]
        if self._body.include_usage:
            events.append(shape.chunk([], **self._envelope, usage=self._usage(echoes, choices[0].seed)))
        return [event.model_dump_json() for event in events]

    def _choices(self, echoes: Sequence[Echo]) -> tuple[CompletionShape, list[CompletionChoice]]:
        seeds = [seed for _ in self._body.prompt for seed in seeds_of(self._body.seed, self._body.num_choices)]
        shape = CompletionShape(self._body.logprobs, echoes)
        done = Piece(finish_reason="length")
        return shape, [shape.whole(_Choice(index, seed), done) for index, seed in enumerate(seeds)]

    def _usage(self, echoes: Sequence[Echo], seed: int) -> Usage:
        num_tokens = sum(len(echo.token_ids) for echo in echoes[:: self._body.num_choices])
        return usage_of_prompts(num_tokens, seed, time.monotonic() - self._arrival.at)
