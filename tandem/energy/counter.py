"""What counts joules."""

from __future__ import annotations

from typing import Literal, Protocol

Source = Literal["nvml", "rapl"]


class NotMeasured(Exception):
    """Energy is not measured, or no longer; the message says why."""


class EnergyCounter(Protocol):
    """Joules used since the counter was made. Read by one thread at a time."""

    @property
    def source(self) -> Source:
        """Whose counters are read: those of GPUs, or those of processor packages."""
        ...

    def joules(self) -> float:
        """The count; never falls.

        Raises:
            NotMeasured: the counter cannot be read (any more).
        """
        ...
