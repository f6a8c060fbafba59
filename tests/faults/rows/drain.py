"""SIGTERM under load: a replica hands its sessions over, and is gone."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.stage import staged

GONE_SECONDS = 5.0
RESUME_TTL = 10
"""Longer than a client that finds one orchestrator leaving takes to reach the other one, which has just come back."""


async def drained(given: Surroundings, num_trials: int) -> Figures:
    """Each of two replicas of all roles in turn."""
    flags = {"session_ttl": 12, "resume_ttl": RESUME_TTL}
    slowest = 0.0
    async with (
        staged(given.zygote, given.folder, orchestrators=2, orchestrator=flags) as stage,
        disturbed(stage) as found,
    ):
        for victim in itertools.islice(itertools.cycle(stage.members.values()), num_trials):
            assert victim.forked is not None
            sessions = await found.under_way()
            since = time.monotonic()
            victim.forked.send(signal.SIGTERM)
            status = await asyncio.wait_for(victim.forked.status, 4 * GONE_SECONDS)
            seconds = time.monotonic() - since
            slowest = max(slowest, seconds)
            found.figures.trials += 1
            found.figures.took_effect += status == 0 and seconds < GONE_SECONDS
            await found.settle(sessions, since)
            await stage.start_member(victim)
            if victim.role != "orchestrator":
                await stage.accepted(victim)
        found.figures.remarks.append(f"gone after {slowest:.1f} s at the latest, with exit code 0")
    return found.figures


ROWS = (
    Row(
        name="drain",
        fault="SIGTERM of each replica of each role in turn, under load: a rolling restart",
        promise="0 failed; exit code 0 within 5 s",
        run=drained,
        short=6,
        long=60,
    ),
)
