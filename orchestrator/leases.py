"""Leases: one session's rounds at one replica, over the stream that all sessions share with that replica."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from tandem.decoding.values import Decoding, Fence, Outcome, RoundName
from tandem.errors import TandemError, Unavailable

MAX_WAITING = 8
"""Outcomes a lease may have waiting. At most two rounds of a session are uncommitted, so more is a replica's defect."""


@dataclass(frozen=True, slots=True)
class Work:
    """A session's text so far, and on whose behalf it is to be continued."""

    session_id: str
    fence: Fence
    decoding: Decoding
    token_ids: tuple[int, ...]
    """The committed text, prompt included."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A round was judged; its outcome is to be committed."""

    name: RoundName
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class LeaseOver:
    """The lease is over before the text is."""

    error: TandemError
    highest_epoch: int = 0
    """The highest epoch that the replica has seen for the session."""
    at_verify: bool = False
    """It was the verify replica that failed or refused."""


class Replica(Protocol):
    """What a lease needs of the replica it is at."""

    @property
    def role(self) -> str:
        """draft or verify."""

    @property
    def name(self) -> str:
        """Role and address."""

    def send_committed(self, session_id: str, fence: Fence, position: int) -> None:
        """Passes the commit watermark on."""

    def end_lease(self, lease: Lease, *, tell: bool) -> None:
        """Forgets the lease, and unless not to be told, takes the session back from the replica."""


class Lease:
    """A session's rounds at a replica, from the grant to `release`. Owner: the session's own task."""

    def __init__(self, replica: Replica, work: Work) -> None:
        self.replica = replica
        self.session_id = work.session_id
        self.fence = work.fence
        self._events: deque[Judged | LeaseOver] = deque()
        self._over = False
        self._waiting: asyncio.Future[None] | None = None
        self._waits_since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def next(self, timeout_seconds: float) -> Judged | LeaseOver:
        """The next outcome, or why there will be none. A replica that is silent for too long counts as lost."""
        while not self._events:
            loop = asyncio.get_running_loop()
            self._waiting, self._waits_since = loop.create_future(), loop.time()
            if self._timer is None:
                self._watch(self._waits_since + timeout_seconds, timeout_seconds)
            try:
                await self._waiting
            finally:
                self._waiting = None
        return self._events.popleft()

    def committed(self, position: int) -> None:
        """Tells the replica how much of the text is committed; it may work two rounds past that."""
        if not self._over:
            self.replica.send_committed(self.session_id, self.fence, position)

    def release(self, *, tell: bool = True) -> None:
        """Takes the session back. Safe to repeat.

        Without ``tell`` the replica is left to find out from the session's next fence, and keeps its KV until then.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._over:
            self._over = True
            self.replica.end_lease(self, tell=tell)

    def interrupt(self, error: TandemError) -> None:
        """Has `next` return at once. The lease goes on until it is released."""
        self._put(LeaseOver(error))

    def deliver(self, event: Judged | LeaseOver) -> None:
        """Called by the replica's link. Outcomes in the name of another fence are late, and dropped."""
        if isinstance(event, LeaseOver):
            self._over = True
        elif event.name.fence != self.fence:
            return
        elif len(self._events) >= MAX_WAITING:
            self.release()
            event = LeaseOver(Unavailable(f"{self.replica.name} ran past the commit watermark"))
        self._put(event)

    def _put(self, event: Judged | LeaseOver) -> None:
        self._events.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _watch(self, when: float, timeout_seconds: float) -> None:
        # One timer looks now and then whether anybody has waited for too long: one for each outcome would cost more
        # than all else that happens here.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(when, self._look, timeout_seconds)

    def _look(self, timeout_seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        since = self._waits_since if self._waiting is not None else now
        if now < since + timeout_seconds:
            self._watch(since + timeout_seconds, timeout_seconds)
            return
        self._timer = None
        error = Unavailable(f"{self.replica.name} was silent for {timeout_seconds:g} s")
        self._put(LeaseOver(error, at_verify=self.replica.role == "verify"))
