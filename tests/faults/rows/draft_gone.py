"""Both draft replicas die, one after the other, and come back."""

from __future__ import annotations

import asyncio
import time

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.stage import ROUND_TIMEOUT, staged

ALONE_SECONDS = 0.2
"""For how long nobody drafts."""

RESUMED_SECONDS = 5.0
"""Drafting goes on at the latest so long after a replica is back: generous."""


async def one_then_the_other(given: Surroundings, num_trials: int) -> Figures:
    async with staged(given.zygote, given.folder) as stage, disturbed(stage) as found:
        load, figures, drafts = found.load, found.figures, stage.of("draft")
        resumed = []
        for number in range(num_trials):
            first, last = drafts[number % 2], drafts[1 - number % 2]
            assert first.forked is not None
            assert last.forked is not None
            await found.under_way()
            first.points.arm("during")
            await first.forked.status
            load.excuse_drafted()
            last.points.arm("during")
            await last.forked.status
            since, sessions = time.monotonic(), set(load.live)
            await found.settle(sessions, since)
            await asyncio.sleep(ALONE_SECONDS)
            figures.trials += 1
            figures.took_effect += not (first.forked.is_alive or last.forked.is_alive) and bool(sessions)
            await stage.start_member(last)
            back = time.monotonic()
            while not stage.metrics(last)["tandem:num_requests_running"]:
                assert time.monotonic() < back + RESUMED_SECONDS, "drafting does not resume"
                await asyncio.sleep(0.01)
            resumed.append(time.monotonic() - back)
            load.without_drafters = False
            await stage.start_member(first)
            for draft in drafts:
                await stage.accepted(draft)
        figures.remarks.append(f"drafting resumed {max(resumed):.2f} s after a replica was back, at the latest")
    return figures


ROWS = (
    Row(
        name="draft-gone",
        fault="both draft replicas SIGKILL, one after the other; one returns, then the other",
        promise="0 failed; the target decodes alone within a round deadline; drafting resumes",
        run=one_then_the_other,
        short=1,
        long=200,
        longest_stall=ROUND_TIMEOUT,
    ),
)
