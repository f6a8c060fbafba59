"""The frame of most rows: an undisturbed run, then the same requests under load while faults happen, then rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tandem.client.attempts import Patience
from tests.faults.figures import Figures
from tests.faults.load import PATIENCE, Ask, Followed, Load, asks
from tests.faults.restored import at_rest, keys_without_expiry, left_behind
from tests.faults.stage import Stage, until

WIDTH = 8
"""Sessions at a time."""

SETTLE_SECONDS = 20.0
"""After which a session that does not move counts as lost for good."""


@dataclass(frozen=True)
class Disturbance:
    """A load, and what is found out about it."""

    load: Load
    figures: Figures

    async def under_way(self) -> set[Followed]:
        """Waits until sessions are running, and returns those that have shown something."""

        def running() -> set[Followed]:
            return {session for session in self.load.live if session.arrivals}

        await until(lambda: len(running()) >= WIDTH // 2, "the load is under way")
        return running()

    async def settle(self, sessions: set[Followed], since: float) -> float:
        """Waits until ``sessions`` have moved on; notes and returns the longest that one stood still."""
        stall = await self.load.settled(sessions, since, SETTLE_SECONDS)
        self.figures.stalls.append(stall)
        return stall


@asynccontextmanager
async def disturbed(
    stage: Stage,
    wanted: Sequence[Ask] = (),
    width: int = WIDTH,
    *,
    patience: Patience = PATIENCE,
    compare_rest: bool = True,
) -> AsyncIterator[Disturbance]:
    """Runs the load while the block lasts; looks at its end whether everything was let go of."""
    load = Load(stage.addresses, wanted or asks(range(6)), shipped=stage.shipped, patience=patience)
    try:
        await load.learn()
        baseline = await at_rest(stage)
        figures = Figures(tally=load.tally)
        async with load.running(width):
            yield Disturbance(load, figures)
            figures.left_behind += keys_without_expiry(stage)
    finally:
        await load.client.close()
    if compare_rest:
        figures.left_behind += await left_behind(stage, baseline)
