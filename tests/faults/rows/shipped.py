"""The shipped pair in place of the tables: a few kills of each role, at moments that nobody chose."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.load import asks
from tests.faults.stage import staged

NUM_KV_BLOCKS = 256
LONGEST_PAUSE_SECONDS = 0.3


async def killed(given: Surroundings, num_trials: int) -> Figures:
    drawn = random.Random(num_trials)
    blocks = {"kv_blocks": NUM_KV_BLOCKS}
    shape = {"verify": blocks, "draft": blocks, "orchestrator": {"session_ttl": 12}}
    async with (
        staged(given.zygote, given.folder, orchestrators=2, shipped=True, **shape) as stage,
        disturbed(stage, asks(range(3), num_tokens=64), width=6) as found,
    ):
        for victim in itertools.islice(itertools.cycle(stage.members.values()), num_trials):
            assert victim.forked is not None
            await found.under_way()
            await asyncio.sleep(drawn.uniform(0, LONGEST_PAUSE_SECONDS))
            since, sessions = time.monotonic(), set(found.load.live)
            victim.forked.send(signal.SIGKILL)
            status = await victim.forked.status
            found.figures.trials += 1
            found.figures.took_effect += status == -signal.SIGKILL and bool(sessions)
            await found.settle(sessions, since)
            await stage.start_member(victim)
            if victim.role != "orchestrator":
                await stage.accepted(victim)
    return found.figures


ROWS = (
    Row(
        name="shipped-kill",
        fault="the shipped pair in float32: each replica of each role SIGKILL in turn, at random moments",
        promise="0 failed, 0 wrong",
        run=killed,
        short=0,
        long=12,
    ),
)
