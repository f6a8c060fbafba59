"""The one thread that owns a model, and how an event loop talks to it.

The loop posts events; the thread hands them to its actor, lets the actor work on all that is ready, and sends what came
of it back in one hop. So the model is never touched by two threads, and while it computes, the loop gathers the next
batch.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from tandem.errors import InvariantBroken
from tandem.recent import Recent
from tandem.telemetry import logger

Event = TypeVar("Event")
EventIn = TypeVar("EventIn", contravariant=True)

STUCK_SECONDS = 120.0
"""A thread that has been at one step for so long is taken for dead: longer than any prefill worth waiting for."""

MAX_LINGER_SECONDS = 0.001
"""However many events trickle in, work is not put off by more than this."""


class Actor(Protocol[EventIn]):
    """What runs in the thread. It owns all its state; nothing else touches it while the thread runs."""

    def handle(self, event: EventIn) -> None:
        """Takes note of one event. Must not raise for what a caller sent."""

    def work(self) -> float | None:
        """Works on what is ready; returns after how many seconds to call it though no event came, None for never."""

    def linger(self) -> float:
        """Seconds worth waiting for further events before working, 0 for none: a fuller batch against a later one."""

    def close(self) -> None:
        """Frees everything. Called last, in the thread."""


class ModelThread(Generic[Event]):
    """Runs an `Actor`. `start` begins the thread, `stop` ends it; in between `post` may be called from any thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy_since: float | None = None
        self._busy_seconds = 0.0
        self._recently_busy = Recent()

    async def start(self, build: Callable[[], Actor[Event]]) -> None:
        """Starts the thread and builds the actor in it (a model is loaded there, too).

        Raises:
            Exception: whatever ``build`` raised; the thread has ended then.
        """
        loop = asyncio.get_running_loop()
        built: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if built.done():
                return
            if error is None:
                built.set_result(None)
            else:
                built.set_exception(error)

        def report(error: BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(settle, error)
            except RuntimeError:
                self._events.put(None)  # nobody waits any more: the loop is gone

        # A daemon, so that a model stuck in a kernel cannot keep a drained process from exiting.
        self._thread = threading.Thread(target=self._run, args=(build, report), name=self._name, daemon=True)
        self._thread.start()
        await built

    def post(self, event: Event) -> None:
        """Hands an event to the actor."""
        self._events.put(event)

    @property
    def backlog(self) -> int:
        """Number of events that wait."""
        return self._events.qsize()

    @property
    def busy_seconds(self) -> float:
        """Seconds spent on anything but waiting, since the start."""
        since = self._busy_since
        return self._busy_seconds + (time.monotonic() - since if since is not None else 0.0)

    @property
    def busy_share(self) -> float:
        """Share of the last ten seconds in which it was not waiting, 0 to 1. A long step counts once it has ended."""
        return min(1.0, self._recently_busy.per_second)

    def is_alive(self) -> bool:
        """Whether the thread has not been at one step for `STUCK_SECONDS`; one that has not begun yet counts as alive.

        Raises:
            InvariantBroken: it has died.
        """
        if self._thread is None:
            return True
        if not self._thread.is_alive():
            raise InvariantBroken("the model thread has died; the log says of what")
        since = self._busy_since
        return since is None or time.monotonic() - since < STUCK_SECONDS

    async def stop(self, timeout_seconds: float = 1.0) -> None:
        """Ends the thread after its current step, or leaves it behind when that takes longer than the timeout."""
        if self._thread is None:
            return
        self._events.put(None)
        await asyncio.to_thread(self._thread.join, timeout_seconds)

    def _run(self, build: Callable[[], Actor[Event]], report: Callable[[BaseException | None], None]) -> None:
        try:
            actor = build()
        except BaseException as error:
            report(error)
            return
        report(None)
        pause: float | None = 0.0
        try:
            while self._take(actor, pause):
                with self._busy():
                    pause = actor.work()
        except BaseException as error:
            # Whoever asks for liveness ends the process.
            logger("tandem.model_thread").critical("the model thread died", exc_info=error)
        finally:
            actor.close()

    def _take(self, actor: Actor[Event], pause: float | None) -> bool:
        """Hands over all events there are, after waiting up to ``pause`` for the first; False when told to stop."""
        try:
            event = self._events.get(timeout=pause)
        except queue.Empty:
            return True
        with self._busy():
            patience = MAX_LINGER_SECONDS
            while event is not None:
                actor.handle(event)
                try:
                    event = self._events.get_nowait()
                    continue
                except queue.Empty:
                    linger = min(actor.linger(), patience)
                if linger <= 0:
                    return True
                began = time.monotonic()
                try:
                    event = self._events.get(timeout=linger)
                except queue.Empty:
                    return True
                patience -= time.monotonic() - began
        return False

    @contextmanager
    def _busy(self) -> Iterator[None]:
        began = self._busy_since = time.monotonic()
        try:
            yield
        finally:
            self._busy_since = None
            seconds = time.monotonic() - began
            self._busy_seconds += seconds
            self._recently_busy.add(seconds)


class Outlet(Generic[Event]):
    """The way back: collects what an actor has to say, and sends it to the loop in one hop when flushed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deliver: Callable[[list[Event]], None]) -> None:
        self._loop = loop
        self._deliver = deliver
        self._items: list[Event] = []

    def put(self, item: Event) -> None:
        """Keeps an item for the next flush. Called in the model thread only."""
        self._items.append(item)

    def hand_over(self) -> None:
        """As `flush`, and lets the loop's thread have the interpreter now: what is left to do here is not urgent."""
        if self._items:
            self.flush()
            time.sleep(0)

    def flush(self) -> None:
        """Has the loop deliver all items, in order. Called in the model thread only."""
        if not self._items:
            return
        items, self._items = self._items, []
        try:
            self._loop.call_soon_threadsafe(self._deliver, items)
        except RuntimeError:
            return  # the loop is closed: the process ends, and nobody is left to tell
