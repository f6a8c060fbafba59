"""Processor time: this process's, and the whole machine's."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tandem.energy.counter import NotMeasured

PROC_STAT = Path("/proc/stat")

_BUSY = (0, 1, 2, 5, 6)
"""user, nice, system, irq and softirq among the numbers of the first line; guests are counted in user."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Processor time up to an instant, in seconds."""

    at: float
    """By the monotonic clock."""
    process_seconds: float
    busy_seconds: float
    """Of all processes on all processors; kept in ticks of usually 10 ms."""

    def share_since(self, start: CpuTime) -> float:
        """This process's part of all busy time since ``start``, 0 to 1; 0 where it did nothing."""
        used = self.process_seconds - start.process_seconds
        # The process's own time is exact, and is busy time whether its tick has come or not.
        busy = max(used, self.busy_seconds - start.busy_seconds)
        return used / busy if busy > 0 else 0.0


def cpu_time(
    proc_stat: Path = PROC_STAT,
    process_seconds: Callable[[], float] = time.process_time,
    clock: Callable[[], float] = time.monotonic,
) -> CpuTime:
    """Up to now.

    Raises:
        NotMeasured: the kernel does not tell how busy the machine is.
    """
    try:
        with proc_stat.open() as lines:
            label, *fields = lines.readline().split()
        if label != "cpu":
            raise ValueError("its first line is not about all processors")
        ticks = sum(int(fields[index]) for index in _BUSY)
    except (OSError, ValueError, IndexError) as error:
        raise NotMeasured(f"{proc_stat} does not tell how busy the machine is: {error}") from None
    return CpuTime(clock(), process_seconds(), ticks / os.sysconf("SC_CLK_TCK"))
