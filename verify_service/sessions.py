"""All sessions at this replica: those that are served, those that are kept for a while, and who owned the others."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from tandem.decoding.values import Fence
from tandem.engine.verifier import Verifier
from tandem.errors import DeadlineExceeded, Overloaded
from verify_service.events import Answer, Open, Refused, Stream
from verify_service.session import MAX_UNCOMMITTED, Session

MAX_FENCES = 65536
"""Fences remembered of sessions that are gone, so that an owner that was fenced off stays so."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on."""

    max_sessions: int = 1024
    """Sessions served at once; over it, opening is refused for now."""
    max_idle: int = 256
    """Sessions kept for another drafter to take over; the one that has been idle longest gives way."""
    idle_seconds: float = 60.0
    """For how long they are kept."""
    max_batch: int = 64
    """Rows of one pass."""
    max_scores: int = 1024
    """Texts that may wait to be scored; over it, they are refused for now."""


class Sessions:
    """The sessions by id. A session is *active* while a stream serves it, else *idle*.

    Idle ones keep their text and verdicts; their KV stays as long as nobody needs the room.
    """

    def __init__(self, verifier: Verifier, limits: Limits) -> None:
        self._verifier = verifier
        self._limits = limits
        self._active: dict[str, Session] = {}
        self._idle: OrderedDict[str, tuple[Session, float]] = OrderedDict()
        self._fences: OrderedDict[str, Fence] = OrderedDict()

    @property
    def num_active(self) -> int:
        """Sessions that are being served."""
        return len(self._active)

    def get(self, session_id: str) -> Session | None:
        """The session, active or idle."""
        found = self._active.get(session_id)
        if found is None and session_id in self._idle:
            return self._idle[session_id][0]
        return found

    def fence(self, session_id: str) -> Fence | None:
        """The newest fence seen for a session, also for one that is gone."""
        session = self.get(session_id)
        return session.fence if session is not None else self._fences.get(session_id)

    def add(self, opened: Open) -> Session:
        """Opens a session that is not held.

        Raises:
            Overloaded: too many are served.
            TandemError: the model refuses it.
        """
        self._admit()
        session = Session(opened, self._verifier.open(opened.token_ids, opened.decoding))
        self._active[session.session_id] = session
        self._fences.pop(session.session_id, None)
        return session

    def wake(self, session: Session) -> None:
        """Makes a session active again.

        Raises:
            Overloaded: too many are served.
        """
        if session.session_id in self._idle:
            self._admit()
            del self._idle[session.session_id]
            self._active[session.session_id] = session

    def park(self, session: Session) -> None:
        """Keeps a session's text for whoever takes it over."""
        if self._active.pop(session.session_id, None) is None:
            return
        session.release()
        self._idle[session.session_id] = (session, time.monotonic() + self._limits.idle_seconds)
        if len(self._idle) > self._limits.max_idle:
            self.drop(next(iter(self._idle)))

    def park_all(self, stream: Stream) -> None:
        """Parks what a stream served."""
        for session in [session for session in self._active.values() if session.stream is stream]:
            self.park(session)

    def drop(self, session_id: str) -> None:
        """Forgets a session's text; its fence is remembered."""
        session = self.get(session_id)
        if session is None:
            return
        self._active.pop(session_id, None)
        self._idle.pop(session_id, None)
        self._verifier.close(session.sequence)
        self._fences[session_id] = session.fence
        if len(self._fences) > MAX_FENCES:
            self._fences.popitem(last=False)

    def expire(self, now: float) -> Iterator[tuple[Session, list[Answer]]]:
        """Gives up what is over time, with what is to be answered for it."""
        while self._idle:
            session, until = next(iter(self._idle.values()))
            if until > now:
                break
            self.drop(session.session_id)
        for session in [session for session in self._active.values() if session.next_deadline <= now]:
            if session.deadline <= now:
                error = DeadlineExceeded("the request's deadline has passed")
                yield session, [Refused(session.session_id, error, session.fence.epoch)]
                self.park(session)
            else:
                yield session, session.expire(now)

    def waiting(self) -> list[Session]:
        """Sessions whose next round may be judged."""
        return [session for session in self._active.values() if session.waits_for_judging]

    def expects_more(self) -> bool:
        """Whether some session is ready while another one's drafter is at work on its next round."""
        ready = expected = False
        for session in self._active.values():
            if session.waits_for_judging:
                ready = True
            elif session.alone is None and session.verdicts.num_uncommitted(session.committed) < MAX_UNCOMMITTED:
                expected = True
        return ready and expected

    def next_deadline(self) -> float:
        """When `expire` has something to do; infinity for never."""
        first = min((session.next_deadline for session in self._active.values()), default=math.inf)
        return min(first, next((until for _, until in self._idle.values()), math.inf))

    def close(self) -> None:
        """Frees every sequence."""
        for session_id in [*self._active, *self._idle]:
            self.drop(session_id)

    def _admit(self) -> None:
        if len(self._active) >= self._limits.max_sessions:
            raise Overloaded(f"{self._limits.max_sessions} sessions are being served; no more are taken now")
