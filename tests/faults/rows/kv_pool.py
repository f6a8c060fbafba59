"""A KV pool far too small for its sessions."""

from __future__ import annotations

import asyncio
import time

from tandem.engine.hosting import BLOCK_SIZE
from tandem.errors import InvalidArgument, OutOfKV, TandemError
from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.load import Ask, Load, asks
from tests.faults.stage import Stage, staged, until

NUM_BLOCKS, NUM_SESSIONS = 64, 64
FULL_SHARE = 0.9
"""Of the pool: what is taken at the height of the crush, at least."""

AT_ONCE_SECONDS = 2.0


async def crowded(given: Surroundings, num_trials: int) -> Figures:
    """64 sessions of 100 tokens each share 64 blocks of 16."""
    flags = {"kv_blocks": NUM_BLOCKS}
    wanted = asks(range(NUM_SESSIONS // 4))
    async with (
        staged(given.zygote, given.folder, verifies=1, drafts=1, verify=flags, draft=flags) as stage,
        disturbed(stage, wanted, width=0) as found,
    ):
        figures = found.figures
        for _ in range(num_trials):
            running = asyncio.gather(*(found.load.follow(ask) for ask in wanted))
            await until(lambda: _is_full(stage), "the pool is full", 60)
            figures.trials += 1
            figures.took_effect += len(found.load.live) > NUM_BLOCKS // 2
            await running
        figures.tally.failed += await _never_fits(found.load)
    return figures


def _is_full(stage: Stage) -> bool:
    return stage.metrics(stage.of("verify")[0])["tandem:kv_cache_usage_perc"] >= FULL_SHARE


async def _never_fits(load: Load) -> list[str]:
    """A prompt that is longer than the pool is refused at once, and says why."""
    ask = Ask("mtad", 0, 3, prompt=(1,) * (NUM_BLOCKS * BLOCK_SIZE + 1))
    began = time.monotonic()
    try:
        await load.client.generate(ask.prompt, **ask.options)
    except (OutOfKV, InvalidArgument) as error:
        seconds = time.monotonic() - began
        return [] if seconds < AT_ONCE_SECONDS else [f"refused only after {seconds:.1f} s: {error}"]
    except TandemError as error:
        return [f"another error: {error!r}"]
    return ["a text was generated that does not fit"]


ROWS = (
    Row(
        name="kv-pool",
        fault="a KV pool of 64 blocks under 64 sessions of 100 tokens, at verify and draft replica",
        promise="all finish, by eviction and re-prefill; what can never fit is refused at once",
        run=crowded,
        short=1,
        long=10,
    ),
)
