"""The library's `generate`, one request at a time."""

from __future__ import annotations

from collections.abc import Sequence

from tandem.bench.contender import Answer, Ask
from tandem.bench.peers.setup import Setup
from tandem.bench.peers.timed import generate_one


class Generate:
    """The target alone."""

    name = "generate"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def serves(self, concurrency: int) -> bool:
        """One request; more would wait for one another."""
        return concurrency == 1

    async def answer(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        """See `Contender`."""
        return [generate_one(self._setup.target, self._setup.config(ask.num_tokens), ask) for ask in asks]

    async def close(self) -> None:
        """Nothing is held."""
