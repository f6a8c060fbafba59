"""How fast places have been coming free: what a waiting time is estimated from."""

from __future__ import annotations

from collections import deque

RECENT_SECONDS = 30.0
"""What happened before says nothing of now."""

MAX_RECENT = 512
LEAST_EVENTS = 4
"""Fewer are no rate."""


class Pace:
    """The places that were freed in the recent past. Times are by `time.monotonic`, and never go back."""

    def __init__(self) -> None:
        self._freed: deque[tuple[float, int, float]] = deque(maxlen=MAX_RECENT)
        self._num_places = 0
        self._held_seconds = 0.0

    def note(self, now: float, num_places: int, held_seconds: float) -> None:
        """So many places came free, after they were held for so long."""
        if len(self._freed) == MAX_RECENT:
            self._forget_oldest()
        self._freed.append((now, num_places, held_seconds))
        self._num_places += num_places
        self._held_seconds += num_places * held_seconds

    def seconds_until(self, num_places: int, now: float) -> float | None:
        """How long so many more places take to come free; None where too little has happened to tell.

        While nothing comes free the estimate grows: the time since the last event counts.
        """
        self._forget_old(now)
        if len(self._freed) < LEAST_EVENTS:
            return None
        # The first event begins the span that the others are counted over.
        since, first, _ = self._freed[0]
        counted = self._num_places - first
        return num_places * max(now - since, 1e-6) / counted

    def typical_seconds(self, now: float) -> float:
        """How long a place is held, in the mean; 0 where too little has happened to tell."""
        self._forget_old(now)
        return self._held_seconds / self._num_places if len(self._freed) >= LEAST_EVENTS else 0.0

    def _forget_old(self, now: float) -> None:
        while self._freed and self._freed[0][0] < now - RECENT_SECONDS:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, num_places, held_seconds = self._freed.popleft()
        self._num_places -= num_places
        self._held_seconds -= num_places * held_seconds
