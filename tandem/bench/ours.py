"""Tandem itself: a running stack asked over gRPC, and both models in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from tandem.bench.contender import Answer, Arrival, Ask
from tandem.client import AsyncClient
from tandem.generation import Options, Part, Round
from tandem.local import LocalDecoder


class Services:
    """A stack, through its public gRPC door. A request begins as soon as another has ended."""

    def __init__(self, client: AsyncClient, options: Options) -> None:
        """``options``: how to decode; length and seed are the request's own. The client stays the caller's."""
        self.name = f"services:{options.get('method')}"
        self._client = client
        self._options = options

    def serves(self, concurrency: int) -> bool:
        """Any number."""
        return True

    async def answer(self, asks: Sequence[Ask], concurrency: int, *, trace: bool = False) -> list[Answer]:
        """See `Contender`. ``trace`` adds the rounds, which costs a little time."""
        places = asyncio.Semaphore(concurrency)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(ask, places, trace)) for ask in asks]
        return [task.result() for task in tasks]

    async def close(self) -> None:
        """Nothing is held."""

    async def _one(self, ask: Ask, places: asyncio.Semaphore, trace: bool) -> Answer:
        arrivals: list[Arrival] = []
        rounds: list[tuple[Arrival, Round]] = []
        async with places:
            began = time.perf_counter()
            async with self._client.stream(ask.prompt, **_options(self._options, ask, trace)) as stream:
                async for part in stream:
                    arrivals.append(_arrival(part, began))
                    rounds += [(arrivals[-1], each) for each in part.rounds]
                return Answer(stream.generation.token_ids, tuple(arrivals), tuple(rounds))


class Local:
    """`LocalDecoder`: as many texts at once as asked for, then the next ones."""

    def __init__(self, decoder: LocalDecoder, options: Options) -> None:
        """``options``: as of `Services`."""
        self.name = f"local:{options.get('method')}"
        self._decoder = decoder
        self._options = options

    def serves(self, concurrency: int) -> bool:
        """Any number."""
        return True

    async def answer(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        """See `Contender`."""
        answers: list[Answer] = []
        for start in range(0, len(asks), concurrency):
            answers += self._together(asks[start : start + concurrency])
        return answers

    async def close(self) -> None:
        """The decoder is the caller's."""

    def _together(self, asks: Sequence[Ask]) -> list[Answer]:
        arrivals: list[list[Arrival]] = [[] for _ in asks]
        began = time.perf_counter()

        def heard(index: int, part: Part) -> None:
            arrivals[index].append(_arrival(part, began))

        texts = self._decoder.generate_each([(ask.prompt, _options(self._options, ask)) for ask in asks], heard)
        return [Answer(text.token_ids, tuple(when)) for text, when in zip(texts, arrivals, strict=True)]


def _options(options: Options, ask: Ask, trace: bool = False) -> Options:
    return {**options, "max_tokens": ask.num_tokens, "seed": ask.seed, "ignore_eos": True, "trace": trace}


def _arrival(part: Part, began: float) -> Arrival:
    return Arrival(time.perf_counter() - began, len(part.token_ids))
