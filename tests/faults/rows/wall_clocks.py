"""Wall clocks that jump by an hour: nothing is decided by them."""

from __future__ import annotations

import asyncio
import itertools
import time
import urllib.request
from email.utils import parsedate_to_datetime

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.stage import Member, Stage, staged

HOUR_SECONDS = 3600.0
WRONG_FOR_SECONDS = 1.5
"""Longer than answers are given the same date."""

CLOSE_SECONDS = 60.0
"""What is read of a clock is right if it is so close: generous, and far from an hour."""

STALL_SECONDS = 1.5
"""No deadline of a round is missed: 2 s."""


async def jumps(given: Surroundings, num_trials: int) -> Figures:
    """Clocks of one process after another jump: an hour ahead, an hour behind, back, as sessions begin and go on."""
    async with staged(given.zygote, given.folder, clocks=True) as stage, disturbed(stage) as found:
        figures = found.figures
        had = _num_placed_anew(stage)
        turns = itertools.cycle(itertools.product((HOUR_SECONDS, -HOUR_SECONDS, 0.0), stage.members.values()))
        for seconds, member in itertools.islice(turns, num_trials):
            sessions, since = await found.under_way(), time.monotonic()
            member.clock.set(seconds)
            await asyncio.sleep(WRONG_FOR_SECONDS)
            wrong = _time_of_day(member) - time.time()
            await found.settle(sessions, since)
            figures.trials += 1
            figures.took_effect += abs(wrong - seconds) < CLOSE_SECONDS and bool(sessions)
        if (anew := _num_placed_anew(stage) - had) > 0:
            figures.left_behind.append(f"{anew:g} times a session lost its lease")
    return figures


def _num_placed_anew(stage: Stage) -> float:
    metrics = stage.metrics(stage.of("orchestrator")[0])
    return sum(value for name, value in metrics.items() if name.startswith("tandem:recoveries_total"))


def _time_of_day(member: Member) -> float:
    """By the member itself, in whole seconds since the epoch: as its HTTP answers are dated."""
    with urllib.request.urlopen(member.ready["metrics"], timeout=5) as answer:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()


ROWS = (
    Row(
        name="wall-clock",
        fault="wall clock of one process after another ±1 h, under load, and back",
        promise="nothing: no text another, no lease lost",
        run=jumps,
        short=2,
        long=60,
        longest_stall=STALL_SECONDS,
    ),
)
