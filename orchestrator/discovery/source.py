"""Where replicas are: what every way of finding them out comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

Standing = Literal["serving", "terminating"]
"""serving: it may be placed on, if it says itself that it is ready. terminating: it is on its way out."""

Endpoints = Mapping[str, Standing]
"""The replicas there are now, all of them, by their addresses (host:port)."""


Tell = Callable[[Endpoints], None]


class Source(Protocol):
    """One way of finding replicas out."""

    @property
    def name(self) -> str:
        """As it stands in the settings."""

    @property
    def trouble(self) -> str:
        """Why what was told last may be out of date; empty where it is not."""

    async def follow(self, tell: Tell) -> None:
        """Tells the endpoints, as soon as they are known and whenever they have changed, until it is cancelled.

        What fails is tried again, and what was told stays so meanwhile. ``tell`` is called in this event loop.
        """
