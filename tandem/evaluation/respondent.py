"""Who answers: the seam between an evaluation and what it evaluates."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tandem.client import AsyncClient
from tandem.errors import Overloaded, TandemError, Unavailable
from tandem.generation import Generation, Options

Answer = Generation | TandemError


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    prompt: str
    options: Options


class Respondent(Protocol):
    """Answers requests, several at the same time."""

    async def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """One answer each, in order; an error is that request's own.

        Raises:
            TandemError: nobody answers.
        """
        ...


class Served:
    """A running Tandem, asked over gRPC."""

    def __init__(self, client: AsyncClient, concurrency: int) -> None:
        """At most ``concurrency`` requests are under way at the same time."""
        self._client = client
        self._places = asyncio.Semaphore(concurrency)

    async def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """See :class:`Respondent`."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(ask)) for ask in asks]
        return [task.result() for task in tasks]

    async def _one(self, ask: Ask) -> Answer:
        async with self._places:
            try:
                return await self._client.generate(ask.prompt, **ask.options)
            except (Unavailable, Overloaded):
                raise
            except TandemError as error:
                return error
