"""A failover between two Redis servers, by a Sentinel: the new master lacks the last writes, and has older epochs."""

from __future__ import annotations

import asyncio
import time

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.rows.store import EXPIRED_SECONDS, LOST_SECONDS, logged
from tests.faults.stage import staged, until

FOUND_SECONDS = 2.0
"""Sessions go on at the latest so long after a new master is named."""


async def failover(given: Surroundings, num_trials: int) -> Figures:
    """The replica is cut off a moment before the master dies. What was the master comes back as the replica."""
    flags = {"session_ttl": EXPIRED_SECONDS}
    async with (
        staged(given.zygote, given.folder, replicated=True, orchestrator=flags) as stage,
        disturbed(stage) as found,
    ):
        replicated = stage.replicated
        assert replicated is not None
        away: list[float] = []
        for _ in range(num_trials):
            sessions = await found.under_way()
            was, becomes = stage.redis, replicated.replica
            replicated.cut_off()
            found.load.forget_new()
            await asyncio.sleep(LOST_SECONDS)
            was.kill()
            gone = time.monotonic()
            found.load.unsaved = False
            found.load.refuse_new()
            await until(lambda becomes=becomes: replicated.master is becomes, "another master is named")
            since = time.monotonic()
            stage.redis = becomes
            await found.settle(sessions, since)
            away.append(since - gone)
            found.figures.stalls[-1] -= away[-1]  # from then on
            found.load.refusing = False
            found.figures.trials += 1
            found.figures.took_effect += bool(sessions)
            was.start()
            await asyncio.to_thread(replicated.replicate, was, becomes)
            await asyncio.to_thread(replicated.await_replica)
        found.figures.remarks += [
            f"another master was named {max(away):.1f} s after the last one's death, at the latest",
            f"{logged(stage, 'writing it back')} sessions were written back by orchestrators",
            f"{len(found.load.tally.lost)}, begun after the last write that was replicated, ended in DATA_LOSS",
            f"{found.load.tally.num_refused} new requests were refused meanwhile",
        ]
    return found.figures


ROWS = (
    Row(
        name="redis-failover",
        fault="Redis master SIGKILL, its replica promoted by a Sentinel without the last writes, with older epochs",
        promise="new work gets UNAVAILABLE; what was shown is written back; sessions go on within 2 s of its naming",
        run=failover,
        short=1,
        long=50,
        longest_stall=FOUND_SECONDS,
    ),
)
