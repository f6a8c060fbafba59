"""Where a process stands among those that run one model together; known before anything heavy is imported."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tandem.errors import InvalidArgument


def _nothing_known() -> None:
    """Nobody here would know of a rank that has ended."""


@dataclass(frozen=True, slots=True)
class Place:
    """A rank among `size`; rank 0 serves, the others follow it."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its number on its own machine, which is its GPU's too."""
    local_size: int = 1
    """How many of the ranks are on its machine."""
    listener: socket.socket | None = None
    """Rank 0's, where the others look for it; None where they look elsewhere, or this is another rank."""
    check_others: Callable[[], None] = _nothing_known
    """Raises InvariantBroken where another rank is known to have ended."""

    @classmethod
    def told(cls, size: int, environ: Mapping[str, str]) -> Place | None:
        """As torchrun, or rank 0, tells a process that it starts; None for a process that somebody else started.

        Raises: InvalidArgument if it was started as one of another number than `size`.
        """
        if "RANK" not in environ or "WORLD_SIZE" not in environ:
            return None
        started = int(environ["WORLD_SIZE"])
        if started != size:
            raise InvalidArgument(
                f"this is one of {started} processes that were started together (WORLD_SIZE), and --parallelism is "
                f"{size}; start as many processes as ranks, or one by itself"
            )
        return cls(
            rank=int(environ["RANK"]),
            size=size,
            local_rank=int(environ.get("LOCAL_RANK", environ["RANK"])),
            local_size=int(environ.get("LOCAL_WORLD_SIZE", size)),
        )
