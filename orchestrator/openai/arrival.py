"""When a request came, and until when its client waits for the answer."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Self

from starlette.requests import Request

from orchestrator.openai.failures import BadRequest

_FOREVER_SECONDS = 1e7

TIMEOUT_HEADERS = {"X-Request-Timeout": 1.0, "X-Envoy-Expected-Rq-Timeout-Ms": 1e-3}
"""Which headers say how long a client, or the proxy before it, waits; and their units in seconds."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Times by `time.monotonic`."""

    at: float
    deadline: float | None = None

    @classmethod
    def of(cls, request: Request) -> Self:
        """Of a request that is here now. Of two headers, the one that waits less counts.

        Raises:
            BadRequest: a header says no positive number.
        """
        now = time.monotonic()
        waits = [
            _number(name, request.headers[name]) * unit
            for name, unit in TIMEOUT_HEADERS.items()
            if name in request.headers
        ]
        seconds = min(waits, default=_FOREVER_SECONDS)
        return cls(now, now + seconds if seconds < _FOREVER_SECONDS else None)


def _number(name: str, given: str) -> float:
    try:
        number = float(given)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise BadRequest(f"{name} is {given[:50]!r}; expected a positive number", name)
    return number
