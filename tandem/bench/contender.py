"""Who is timed: the seam between the benchmark and what it times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tandem.generation import Round


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: everybody generates exactly so many tokens after the prompt and passes over end tokens."""

    prompt: tuple[int, ...]
    num_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """Tokens that became known together."""

    seconds: float
    """Since the request was made."""
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request."""

    token_ids: tuple[int, ...]
    arrivals: tuple[Arrival, ...]
    """In order; their tokens are those of ``token_ids``."""
    rounds: tuple[tuple[Arrival, Round], ...] = ()
    """Of a traced request: each round, with the arrival that showed it."""


class Contender(Protocol):
    """Generates texts. Set up once, then asked many times; ``close`` frees what it holds."""

    @property
    def name(self) -> str:
        """As figures name it, unlike any other's."""

    def serves(self, concurrency: int) -> bool:
        """Whether it has its own way of answering so many requests at once; it is timed only where it has."""

    async def answer(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        """One answer each, in order, with at most ``concurrency`` requests under way at any time. May block the loop.

        Raises:
            TandemError: it cannot answer.
        """

    async def close(self) -> None:
        """Frees everything. Safe to repeat."""
