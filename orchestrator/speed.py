"""How fast one replica works, as the outcomes of its rounds tell, and whether it is left alone for being slow."""

from __future__ import annotations

from collections import deque

NUM_PASSES = 9
LEAST_PASSES = 5
"""Passes that are looked back on, and of how many something can be said: the median is of most of them."""

RECENT_SECONDS = 60.0
"""What happened before says nothing of now."""

NUM_PREFILLS = 8
LONGEST_PAUSE = 32.0
"""Of a replica that was slow each time it was tried again, in first pauses."""

PROBATION_SESSIONS = 2
"""Sessions at once that try a replica again, until it has shown how fast it is."""


class Passes:
    """The last passes of one kind at a replica, each counted once however many sessions' rounds were in it.

    Outcomes of one pass carry the same time, to the bit: that is its ``name``. Times are by `time.monotonic`.
    """

    def __init__(self) -> None:
        self._recent: dict[float, tuple[float, float]] = {}  # name -> seconds, load; oldest first
        self._with_prefill: deque[float] = deque(maxlen=NUM_PREFILLS)
        self._noted_at = 0.0
        self.latest = self.seconds = self.load = 0.0
        """Time of the last pass, median time of a pass, and mean load of the replica at that time."""
        self.slow_since: float | None = None
        """Since when they have been slow, as whoever compares them found."""

    def note(self, now: float, name: float, seconds: float, load: float, *, prefills: bool) -> bool:
        """Takes in what one outcome tells of its pass; returns whether there is anything new to compare.

        ``prefills``: a text was read anew in it, so it is none to go by.
        """
        if now > self._noted_at + RECENT_SECONDS:
            self.clear()
        if prefills:
            self._with_prefill.append(name)
            self._recent.pop(name, None)
            return False
        if name in self._with_prefill:
            return False
        known = self._recent.get(name)
        if known is not None and known[0] <= seconds:
            return False
        self._recent[name] = seconds, load
        if len(self._recent) > NUM_PASSES:
            del self._recent[next(iter(self._recent))]
        self._noted_at = now
        self.latest = seconds
        self.seconds = sorted(seconds for seconds, _ in self._recent.values())[len(self._recent) // 2]
        self.load = sum(load for _, load in self._recent.values()) / len(self._recent)
        return True

    def tell_something(self, now: float) -> bool:
        """Whether there have been enough of them lately."""
        return len(self._recent) >= LEAST_PASSES and now <= self._noted_at + RECENT_SECONDS

    @property
    def longest(self) -> float:
        """The longest whole pass among them, in seconds, where names are times; 0 where there was none."""
        return max(self._recent, default=0.0)

    def clear(self) -> None:
        """Forgets them."""
        self._recent.clear()
        self.slow_since = None


class Speed:
    """Of one replica: its passes, and how it stands for them.

    A replica that was slow is left alone for a while, then on probation until it has shown itself. One that was slow
    again is left alone for twice as long.
    """

    def __init__(self) -> None:
        self.passes = Passes()
        """Of its model: time of a pass."""
        self.transits = Passes()
        """Of rounds between draft and verify replica: what of a round's time nobody computed or queued for."""
        self.on_probation = False
        self._pause = 0.0
        self._ejected_until = 0.0

    def is_ejected(self, now: float) -> bool:
        """Whether it is left alone now."""
        return now < self._ejected_until

    def eject(self, now: float, first_pause: float) -> float:
        """Leaves it alone for as long as is returned, in seconds."""
        relapsed = now < self._ejected_until + 2 * self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE * first_pause) if relapsed else first_pause
        self._ejected_until = now + self._pause
        self.on_probation = True
        self.passes.clear()
        self.transits.clear()
        return self._pause

    def end_probation(self, now: float) -> None:
        """Takes it for as good as any, if it has shown enough and nothing of it is slow."""
        doubted = self.passes.slow_since is not None or self.transits.slow_since is not None
        if self.passes.tell_something(now) and not doubted:
            self.on_probation = False

    def is_out(self, now: float, num_sessions: int, *, begins: bool) -> bool:
        """Whether a session should rather go elsewhere. Only sessions that begin, and few, try it on probation."""
        tries = begins and num_sessions < PROBATION_SESSIONS
        return self.is_ejected(now) or (self.on_probation and not tries)
