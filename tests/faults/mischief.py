"""Messages that arrive twice, again long after, or in another order."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

REPLAYED_FROM = 16
"""Messages back that one is delivered again from."""


class Mischief:
    """What becomes of one stream's messages in one direction, by draws of its own.

    A duplicating network would do this to packets that TCP then sorts out; here it is done to whole rounds, as by a
    peer that was restored from an old state, or by two that both believe to be the owner.
    """

    def __init__(self, seed: str, told: Path) -> None:
        self._random = random.Random(seed)
        self._told = told
        self._past: deque[Any] = deque(maxlen=REPLAYED_FROM)
        self._held: Any = None

    def deliver(self, message: Any) -> list[Any]:
        """What arrives now in ``message``'s place."""
        drawn = self._random.random()
        delivered = [message]
        if drawn < 0.15:
            delivered = [message, message]
        elif drawn < 0.30 and self._past:
            delivered = [message, self._random.choice(self._past)]
        elif drawn < 0.40 and self._held is None:
            self._held, delivered = message, []
        elif self._held is not None:
            delivered, self._held = [message, self._held], None
        self._past.append(message)
        if delivered != [message]:
            with self._told.open("a") as told:
                told.write(".")
        return delivered


async def mischievous(requests: AsyncIterator[Any], mischief: Mischief) -> AsyncIterator[Any]:
    """Requests as they arrive, rounds and watermarks among them as ``mischief`` has it."""
    async for request in requests:
        if request.WhichOneof("body") in ("round", "committed"):
            for delivered in mischief.deliver(request):
                yield delivered
        else:
            yield request
