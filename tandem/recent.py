"""What has added up over the last seconds, for gauges that autoscaling goes by."""

from __future__ import annotations

import time
from typing import Final

NUM_SLOTS: Final = 10


class Recent:
    """Sums over the last ``seconds``, in steps of a tenth of that. One thread adds, and any thread may read."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._slot_seconds = seconds / NUM_SLOTS
        self._slots = [(-NUM_SLOTS, 0.0, 0)] * NUM_SLOTS
        """By turns: which slot of time it is about, what was added in it, and how often."""
        self._since = time.monotonic()

    def add(self, amount: float) -> None:
        """Adds, at this moment."""
        slot = self._slot()
        last, total, count = self._slots[slot % NUM_SLOTS]
        if last != slot:
            total, count = 0.0, 0
        self._slots[slot % NUM_SLOTS] = (slot, total + amount, count + 1)

    @property
    def total(self) -> float:
        """What was added."""
        return sum(total for _, total, _ in self._alive())

    @property
    def mean(self) -> float:
        """What was added at a time; 0 where nothing was."""
        count = sum(count for _, _, count in self._alive())
        return self.total / count if count else 0.0

    @property
    def per_second(self) -> float:
        """What was added in a second."""
        seconds = min(NUM_SLOTS * self._slot_seconds, time.monotonic() - self._since)
        return self.total / max(seconds, self._slot_seconds)

    def _slot(self) -> int:
        return int(time.monotonic() / self._slot_seconds)

    def _alive(self) -> list[tuple[int, float, int]]:
        oldest = self._slot() - NUM_SLOTS
        return [slot for slot in self._slots if slot[0] > oldest]
