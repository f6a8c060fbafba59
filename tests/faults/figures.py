"""What a row of the matrix found."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.load import Tally
from tests.faults.spawning import Zygote


class NotHere(Exception):
    """This machine lacks what a row needs. Says what."""


@dataclass
class Figures:
    """Counts of one row. ``trials`` faults were applied, ``took_effect`` of them demonstrably."""

    trials: int = 0
    took_effect: int = 0
    stalls: list[float] = field(default_factory=list)
    """By trial, the longest that any session waited for its next tokens, in seconds."""
    tally: Tally = field(default_factory=Tally)
    left_behind: list[str] = field(default_factory=list)
    """What was not back to where it had been before: KV, file descriptors, keys."""
    remarks: list[str] = field(default_factory=list)

    @property
    def stall_p50(self) -> float:
        return statistics.median(self.stalls) if self.stalls else 0.0

    @property
    def stall_p99(self) -> float:
        ranked = sorted(self.stalls)
        return ranked[min(len(ranked) - 1, int(0.99 * len(ranked)))] if ranked else 0.0


@dataclass(frozen=True)
class Surroundings:
    """What every row has at hand."""

    zygote: Zygote
    folder: Path
    """Empty, and the row's own."""
    evidence: Path | None = None
    """Where a long row leaves what it has found so far, and goes on from there if it was stopped; None is nowhere."""


@dataclass(frozen=True)
class Row:
    """A row of the matrix: a fault, what is promised, and how it is tried."""

    name: str
    fault: str
    promise: str
    run: Callable[[Surroundings, int], Awaitable[Figures]]
    """Runs so many trials."""
    short: int
    """Trials in the short form, which is part of the test suite; 0 leaves the row out of it."""
    long: int = 200
    only_named: bool = False
    """Whether it is so long that it runs only where it is asked for by name."""
    longest_stall: float | None = None
    """A generous bound of how long a session may stand still, in seconds, where the promise has one."""

    def problems(self, found: Figures) -> list[str]:
        """All that breaks the promise."""
        problems = [*found.tally.failed, *found.tally.wrong, *found.left_behind]
        if found.took_effect < found.trials:
            problems.append(f"only {found.took_effect} of {found.trials} faults took effect")
        if self.longest_stall is not None and found.stalls and max(found.stalls) > self.longest_stall:
            problems.append(
                f"a session stood still for {max(found.stalls):.1f} s; {self.longest_stall:g} s are promised"
            )
        return problems
