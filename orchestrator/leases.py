"""Leases: one session's rounds at one replica, over the stream that all sessions share with that replica."""

from __future__ import annotations

import asyncio
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
        self._events: asyncio.Queue[Judged | LeaseOver] = asyncio.Queue()
        self._over = False

    async def next(self, timeout_seconds: float) -> Judged | LeaseOver:
        """The next outcome, or why there will be none. A replica that is silent for too long counts as lost."""
        try:
            if not self._events.empty():
                return self._events.get_nowait()
            async with asyncio.timeout(timeout_seconds):
                return await self._events.get()
        except TimeoutError:
            error = Unavailable(f"{self.replica.name} was silent for {timeout_seconds:g} s")
            return LeaseOver(error, at_verify=self.replica.role == "verify")

    def committed(self, position: int) -> None:
        """Tells the replica how much of the text is committed; it may work two rounds past that."""
        if not self._over:
            self.replica.send_committed(self.session_id, self.fence, position)

    def release(self, *, tell: bool = True) -> None:
        """Takes the session back. Safe to repeat.

        Without ``tell`` the replica is left to find out from the session's next fence, and keeps its KV until then.
        """
        if not self._over:
            self._over = True
            self.replica.end_lease(self, tell=tell)

    def interrupt(self, error: TandemError) -> None:
        """Has `next` return at once. The lease goes on until it is released."""
        self._events.put_nowait(LeaseOver(error))

    def deliver(self, event: Judged | LeaseOver) -> None:
        """Called by the replica's link. Outcomes in the name of another fence are late, and dropped."""
        if isinstance(event, LeaseOver):
            self._over = True
        elif event.name.fence != self.fence:
            return
        elif self._events.qsize() >= MAX_WAITING:
            self.release()
            event = LeaseOver(Unavailable(f"{self.replica.name} ran past the commit watermark"))
        self._events.put_nowait(event)
