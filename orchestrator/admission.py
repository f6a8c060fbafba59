"""Who may begin now, who waits, and who is better told at once to come back.

A bounded number of sessions runs; a bounded number of requests waits for its turn, in order; everything else is refused
before a prompt is read or the store is asked. So the work under way never grows with the load, and a request that
could not be answered in time costs next to nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from orchestrator.metrics import Metrics, RefusalReason
from orchestrator.pace import Pace
from tandem.errors import DeadlineExceeded, InvalidArgument, Overloaded, TandemError

LEAST_RETRY_SECONDS, MOST_RETRY_SECONDS = 1.0, 60.0


Counted = Callable[[int], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Room:
    """How much is taken on."""

    running: int = 1024
    """Sessions that run at once."""
    waiting: int = 256
    """Sessions that wait for their turn."""
    queue_seconds: float = 30.0
    """For how long one waits at most."""


class Place:
    """Room for so many sessions, from `Admission.enter` until it is given back. Use it as a context manager."""

    def __init__(self, admission: Admission, count: int) -> None:
        self._admission = admission
        self._count = count
        self._since = time.monotonic()
        self.held = ExitStack()
        """What is given back with it."""

    def free(self) -> None:
        """Gives it back. Safe to repeat."""
        count, self._count = self._count, 0
        if count:
            self.held.close()
            self._admission.freed(count, time.monotonic() - self._since)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.free()


@dataclass(slots=True, eq=False)
class _Waiter:
    count: int
    deadline: float | None
    turn: asyncio.Future[Place] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Admission:
    """The places and the queue. Belongs to the event loop; it has no task of its own.

    Invariant: while somebody waits, there is no room for the first in line.
    """

    def __init__(self, room: Room, metrics: Metrics, counted: Counted = lambda count: nullcontext()) -> None:
        """``counted``: counts so many sessions, waiting or running, for whoever asks; raises where that is too many."""
        self._counted = counted
        self._room = room
        self._metrics = metrics
        self._pace = Pace()
        self._num_running = 0
        self._num_waiting = 0
        # Those who come back to a session that has begun go before those who begin one: their work is half done.
        self._returning: deque[_Waiter] = deque()
        self._new: deque[_Waiter] = deque()
        self._closed: TandemError | None = None

    def check_open(self) -> None:
        """Of what needs no place: refuses where nothing is begun any more.

        Raises:
            Unavailable: this orchestrator is stopping.
        """
        if self._closed is not None:
            raise self._refusal("draining", self._closed)

    def check(self) -> None:
        """Refuses who would be refused whatever the request says: asked before anything of it is read.

        Raises:
            Unavailable: this orchestrator is stopping. Overloaded: the queue is full.
        """
        self.check_open()
        if self._num_running >= self._room.running and self._num_waiting >= self._room.waiting:
            raise self._queue_full(1)

    async def enter(self, count: int = 1, deadline: float | None = None, *, returning: bool = False) -> Place:
        """Room for ``count`` sessions, once it is their turn. ``deadline`` is by `time.monotonic`.

        Raises:
            InvalidArgument: there is never room for so many. Unavailable: this orchestrator is stopping.
            Overloaded: the queue is full, or the wait would be too long. DeadlineExceeded: it was.
        """
        with ExitStack() as held:
            held.enter_context(self._counted(count))
            place = await self._enter(count, deadline, returning=returning)
            place.held = held.pop_all()
            return place

    async def _enter(self, count: int, deadline: float | None, *, returning: bool) -> Place:
        if count > self._room.running:
            raise InvalidArgument(f"{count} texts were asked for; at most {self._room.running} are generated at once")
        self.check_open()
        queue = self._returning if returning else self._new
        nobody_before = not self._returning and (returning or not self._new)
        if nobody_before and self._num_running + count <= self._room.running:
            self._metrics.queue_seconds.observe(0.0)
            return self._take(count)
        now = time.monotonic()
        self._refuse_hopeless(count, deadline, now, returning=returning)
        waiter = _Waiter(count, deadline)
        queue.append(waiter)
        self._num_waiting += count
        self._metrics.waiting.inc(count)
        try:
            return await self._turn(waiter, now)
        finally:
            self._num_waiting -= count
            self._metrics.waiting.dec(count)
            if waiter in queue:
                queue.remove(waiter)
                self._advance()  # it may have stood in the way of a smaller one

    def freed(self, count: int, held_seconds: float) -> None:
        """Called by a place that is given back."""
        self._num_running -= count
        self._pace.note(time.monotonic(), count, held_seconds)
        self._advance()

    def close(self, error: TandemError) -> None:
        """Lets nobody in from now on; who waits is told ``error``, so that it asks elsewhere at once."""
        self._closed = error
        for waiter in (*self._returning, *self._new):
            if not waiter.turn.done():
                waiter.turn.set_exception(self._refusal("draining", error))

    async def _turn(self, waiter: _Waiter, since: float) -> Place:
        limit = since + self._room.queue_seconds
        if waiter.deadline is not None:
            limit = min(limit, waiter.deadline)
        try:
            async with asyncio.timeout(limit - since):
                place = await waiter.turn
        except TimeoutError:
            if waiter.deadline is not None and waiter.deadline <= limit:
                raise self._refusal(
                    "deadline", DeadlineExceeded("the deadline passed before it was the request's turn")
                ) from None
            raise self._refusal(
                "queue_timeout", self._overloaded("its turn did not come in time", waiter.count)
            ) from None
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                waiter.turn.result().free()  # its turn came in the moment in which its client left
            raise
        self._metrics.queue_seconds.observe(time.monotonic() - since)
        return place

    def _refuse_hopeless(self, count: int, deadline: float | None, now: float, *, returning: bool) -> None:
        """Refuses a request that had better not wait."""
        if self._num_waiting + count > self._room.waiting:
            raise self._queue_full(count)
        before = sum(waiter.count for waiter in self._returning) if returning else self._num_waiting
        seconds = self._pace.seconds_until(before + count, now)
        if seconds is None:
            return
        if seconds > self._room.queue_seconds:
            raise self._refusal("queue_timeout", self._overloaded(f"a turn comes in about {seconds:.1f} s", count))
        if deadline is not None and now + seconds + self._pace.typical_seconds(now) > deadline:
            raise self._refusal(
                "deadline",
                self._overloaded(
                    f"the deadline is sooner than an answer: a turn comes in about {seconds:.1f} s", count
                ),
            )

    def _advance(self) -> None:
        """Lets in whoever is first, as long as there is room."""
        while self._closed is None and (queue := self._returning or self._new):
            waiter = queue[0]
            if not waiter.turn.done():
                if self._num_running + waiter.count > self._room.running:
                    return
                now = time.monotonic()
                if waiter.deadline is not None and now + self._pace.typical_seconds(now) > waiter.deadline:
                    # What would be cut off in its middle would only take the time of those behind it.
                    waiter.turn.set_exception(
                        self._refusal("deadline", self._overloaded("too little of the deadline is left", waiter.count))
                    )
                else:
                    waiter.turn.set_result(self._take(waiter.count))
            queue.popleft()

    def _take(self, count: int) -> Place:
        self._num_running += count
        return Place(self, count)

    def _queue_full(self, count: int) -> TandemError:
        return self._refusal("queue_full", self._overloaded("as many wait as may", count))

    def _overloaded(self, why: str, count: int) -> Overloaded:
        now = time.monotonic()
        seconds = self._pace.seconds_until(self._num_waiting + count, now) or LEAST_RETRY_SECONDS
        return Overloaded(
            f"{self._num_running} sessions are being generated and {self._num_waiting} wait; {why}",
            min(max(seconds, LEAST_RETRY_SECONDS), MOST_RETRY_SECONDS),
        )

    def _refusal(self, reason: RefusalReason, error: TandemError) -> TandemError:
        self._metrics.refusals[reason].inc()
        return error
