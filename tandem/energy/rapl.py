"""The energy of this process's work on the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tandem.energy.counter import Source
from tandem.energy.cpu_time import CpuTime, cpu_time
from tandem.energy.powercap import POWERCAP_ROOT, Packages

WINDOW_SECONDS = 0.2
"""Over so long a share is taken. Shorter, the ticks of the machine's busy time would blur it; longer, it would lag."""


class RaplCounter:
    """What the packages use, times this process's share of the busy processor time.

    A package's counter sees everything that runs there. Divided like this nothing is counted twice: the shares of all
    processes add up to what the packages used, their idle power included. docs/decisions/0004 tells why.
    """

    source: Source = "rapl"

    def __init__(self, root: Path = POWERCAP_ROOT, now: Callable[[], CpuTime] = cpu_time) -> None:
        """Raises: NotMeasured."""
        self._packages = Packages(root)
        self._now = now
        self._total = 0.0
        self._begin_window(now(), self._packages.joules())

    def joules(self) -> float:
        """Raises: NotMeasured."""
        now, energy = self._now(), self._packages.joules()
        used = (energy - self._window_energy) * now.share_since(self._window_start)
        # Early in a window the share is rough, and may still fall.
        self._total = max(self._total, self._window_total + used)
        if now.at - self._window_start.at >= WINDOW_SECONDS:
            self._begin_window(now, energy)
        return self._total

    def _begin_window(self, now: CpuTime, energy: float) -> None:
        self._window_start, self._window_energy, self._window_total = now, energy, self._total
