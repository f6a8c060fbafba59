"""SIGKILL at a point of a process's work, under load."""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Sequence

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.stage import ROUND_TIMEOUT, Member, Stage, staged

MODEL_POINTS = ("before", "during", "after", "replying", "replied")
EMIT_POINTS = ("committing", "sent", "committed", "replying", "replied")
ORPHAN_SECONDS = 8
"""When a session expires of which its client never heard, because the orchestrator died in between."""

STALL_SECONDS = ROUND_TIMEOUT + 3.0
"""A round deadline, and what it takes to read the texts anew: generous, since other work shares the cores."""


async def verify_one_of_two(given: Surroundings, num_trials: int) -> Figures:
    """Either verify replica dies while the other lives."""
    async with staged(given.zygote, given.folder) as stage:
        return await killed_over_and_over(stage, stage.of("verify"), MODEL_POINTS, num_trials)


async def verify_only_one(given: Surroundings, num_trials: int) -> Figures:
    """The only verify replica dies, and is started again at its port."""
    async with staged(given.zygote, given.folder, verifies=1) as stage:
        return await killed_over_and_over(stage, stage.of("verify"), MODEL_POINTS, num_trials)


async def draft_one_of_two(given: Surroundings, num_trials: int) -> Figures:
    """Either draft replica dies while the other lives, which proposes the same."""
    async with staged(given.zygote, given.folder) as stage:
        return await killed_over_and_over(stage, stage.of("draft"), MODEL_POINTS, num_trials)


async def orchestrator_one_of_two(given: Surroundings, num_trials: int) -> Figures:
    """Either orchestrator dies on its way from commit to emit; clients resume at the other by themselves."""
    flags = {"session_ttl": ORPHAN_SECONDS}
    async with staged(given.zygote, given.folder, orchestrators=2, orchestrator=flags) as stage:
        return await killed_over_and_over(stage, stage.of("orchestrator"), EMIT_POINTS, num_trials)


async def killed_over_and_over(
    stage: Stage, victims: Sequence[Member], points: Sequence[str], num_trials: int
) -> Figures:
    """Kills the victims in turn, at the points in turn, under load; each is started again and waited for."""
    async with disturbed(stage) as found:
        figures, load = found.figures, found.load
        turns = itertools.cycle(itertools.product(points, victims))
        for number, (point, victim) in zip(range(num_trials), turns, strict=False):
            assert victim.forked is not None
            await found.under_way()
            victim.points.arm(point, skip=number % 7)
            status = await victim.forked.status
            since, sessions = time.monotonic(), set(load.live)
            figures.trials += 1
            figures.took_effect += status == -signal.SIGKILL and victim.points.hit is not None and bool(sessions)
            await stage.start_member(victim)
            await found.settle(sessions, since)
            if victim.role != "orchestrator":
                await stage.accepted(victim)
    return figures


ROWS = (
    Row(
        name="verify-kill",
        fault="verify replica SIGKILL, one of two: before, during, after the forward pass, before and after the reply",
        promise="0 failed; stall at most a round deadline and re-prefill",
        run=verify_one_of_two,
        short=5,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="verify-kill-only",
        fault="verify replica SIGKILL, the only one, started again at the same port: at the same points",
        promise="0 failed; stall at most the restart, a round deadline and re-prefill",
        run=verify_only_one,
        short=5,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="draft-kill",
        fault="draft replica SIGKILL, one of two: before, during, after a pass, before and after the report",
        promise="0 failed; the survivor proposes the same",
        run=draft_one_of_two,
        short=5,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="orchestrator-kill",
        fault="orchestrator SIGKILL, one of two: at every edge between commit and emit",
        promise="the client resumes at the other, each token exactly once",
        run=orchestrator_one_of_two,
        short=10,
        longest_stall=STALL_SECONDS,
    ),
)
