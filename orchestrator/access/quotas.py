"""What each principal uses of this orchestrator, and where that ends. Other orchestrators count for themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.access.principal import Principal
from orchestrator.metrics import Metrics
from tandem.errors import InvalidArgument, Overloaded

SESSION_RETRY_SECONDS = 1.0
MAX_KEPT = 4_096
"""Principals at rest that are remembered: tokens may name any number of them."""
MAX_NAMED = 64
"""Principals that metrics name; those refused after them are ``other``."""


class LimitReached(Overloaded):
    """A principal has used up what it may."""


@dataclass(slots=True)
class _Use:
    num_sessions: int = 0
    tokens: float = 0.0
    """Requests that may come at once. A bucket: it fills at the allowed rate, up to a minute's worth."""
    filled_at: float = -float("inf")


class Quotas:
    """Counts sessions and requests by principal. Belongs to the event loop."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds that never go back, unlike the wall clock's."""
        self._metrics = metrics
        self._clock = clock
        self._uses: dict[str, _Use] = {}
        self._named: set[str] = set()

    def count_request(self, principal: Principal) -> None:
        """Counts a call.

        Raises:
            LimitReached: there were too many in the last minute; it says when the next may come.
        """
        rate = principal.allowance.requests_per_minute
        if rate is None:
            return
        use, now = self._use(principal), self._clock()
        use.tokens = min(float(rate), use.tokens + (now - use.filled_at) * rate / 60)
        use.filled_at = now
        if use.tokens < 1:
            seconds = (1 - use.tokens) * 60 / rate
            raise self._refused(principal, "requests", f"{rate} requests a minute", seconds)
        use.tokens -= 1

    def check_sessions(self, principal: Principal, count: int) -> None:
        """Whether so many more sessions may begin, before anything is spent on them.

        Raises:
            LimitReached: not now. InvalidArgument: never so many at once.
        """
        limit = principal.allowance.max_sessions
        if limit is None:
            return
        if count > limit:
            raise InvalidArgument(f"{count} texts were asked for; you may have {limit} generated at once")
        if self._use(principal).num_sessions + count > limit:
            raise self._refused(principal, "sessions", f"{limit} sessions at once", SESSION_RETRY_SECONDS)

    @contextmanager
    def sessions(self, principal: Principal, count: int) -> Iterator[None]:
        """Counts so many sessions, those that wait for their turn included, for as long as the block lasts.

        Raises:
            LimitReached: the principal has as many as it may.
        """
        self.check_sessions(principal, count)
        use = self._use(principal)
        use.num_sessions += count
        try:
            yield
        finally:
            use.num_sessions -= count

    def _use(self, principal: Principal) -> _Use:
        use = self._uses.get(principal.name)
        if use is None:
            if len(self._uses) >= MAX_KEPT:
                self._forget_those_at_rest()
            use = self._uses[principal.name] = _Use()
        return use

    def _forget_those_at_rest(self) -> None:
        """Forgets those for whom that changes nothing: without sessions, and silent while a bucket fills."""
        since = self._clock() - 60
        self._uses = {name: use for name, use in self._uses.items() if use.num_sessions or use.filled_at > since}

    def _refused(self, principal: Principal, limit: str, what: str, seconds: float) -> LimitReached:
        name = principal.name or "anyone"
        if name in self._named or len(self._named) < MAX_NAMED:
            self._named.add(name)
        else:
            name = "other"
        self._metrics.limited.labels(name, limit).inc()
        return LimitReached(f"the limit of {what} is reached; come back in {seconds:.2g} s", seconds)
