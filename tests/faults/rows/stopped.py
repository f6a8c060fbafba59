"""SIGSTOP past a lease's end, then SIGCONT: what the replica still does is late, and refused."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import time

import psutil

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.load import PATIENCE
from tests.faults.stage import Member, Stage, staged, until

ROUND_TIMEOUT, LEASE_TIMEOUT = 0.5, 1.0
"""Short, in seconds, so that a trial is."""

LATE_SECONDS = 0.3
"""For what the replica does when it goes on."""

SILENCE_SECONDS = 3.0
"""After which clients leave an orchestrator; a third of it goes by at least, wherever between two pings it stops."""

ORPHAN_SECONDS = 12

STALL_SECONDS = 2 * ROUND_TIMEOUT + 3.0


async def verify_stopped(given: Surroundings, num_trials: int) -> Figures:
    return await _stopped(given, "verify", num_trials)


async def draft_stopped(given: Surroundings, num_trials: int) -> Figures:
    return await _stopped(given, "draft", num_trials)


async def orchestrator_stopped(given: Surroundings, num_trials: int) -> Figures:
    """Its clients leave it for the other; once it goes on, nobody listens any more to what it has in hand."""
    flags = {"round_timeout": ROUND_TIMEOUT, "lease_timeout": LEASE_TIMEOUT, "session_ttl": ORPHAN_SECONDS}
    patience = dataclasses.replace(PATIENCE, silence_seconds=SILENCE_SECONDS)
    async with (
        staged(given.zygote, given.folder, orchestrators=2, orchestrator=flags) as stage,
        disturbed(stage, patience=patience) as found,
    ):
        for number in range(num_trials):
            victim = stage.of("orchestrator")[number % 2]
            assert victim.forked is not None
            await until(lambda busy=victim: stage.metrics(busy)["tandem:num_requests_running"] > 1, "it has work")
            sessions, since = await found.under_way(), time.monotonic()
            victim.forked.send(signal.SIGSTOP)
            stall = await found.settle(sessions, since)
            found.figures.trials += 1
            found.figures.took_effect += _is_stopped(victim) and stall > SILENCE_SECONDS / 3
            victim.forked.send(signal.SIGCONT)
            await asyncio.sleep(LATE_SECONDS)
    return found.figures


async def _stopped(given: Surroundings, role: str, num_trials: int) -> Figures:
    flags = {"round_timeout": ROUND_TIMEOUT, "lease_timeout": LEASE_TIMEOUT}
    async with staged(given.zygote, given.folder, orchestrator=flags) as stage, disturbed(stage) as found:
        figures = found.figures
        refused = -_num_refused(stage)
        for number in range(num_trials):
            victim = stage.of(role)[number % 2]
            assert victim.forked is not None
            await until(lambda busy=victim: stage.metrics(busy)["tandem:num_requests_running"] > 0, "it has work")
            sessions, since = await found.under_way(), time.monotonic()
            victim.forked.send(signal.SIGSTOP)
            await found.settle(sessions, since)
            await asyncio.sleep(max(0.0, since + LEASE_TIMEOUT - time.monotonic()))
            figures.trials += 1
            figures.took_effect += _is_stopped(victim) and bool(sessions)
            victim.forked.send(signal.SIGCONT)
            await asyncio.sleep(LATE_SECONDS)
        refused += _num_refused(stage)
        figures.remarks.append(f"{refused:g} late requests were refused by verify replicas")
    return figures


def _is_stopped(member: Member) -> bool:
    return bool(psutil.Process(member.pid).status() == psutil.STATUS_STOPPED)


def _num_refused(stage: Stage) -> float:
    return sum(stage.metrics(member)['tandem:rounds_total{verdict="refused"}'] for member in stage.of("verify"))


ROWS = (
    Row(
        name="verify-stop",
        fault="verify replica SIGSTOP past the round deadline and the lease, then SIGCONT",
        promise="0 failed; its late work is refused everywhere; stall at most two round deadlines and re-prefill",
        run=verify_stopped,
        short=1,
        long=40,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="draft-stop",
        fault="draft replica SIGSTOP past its lease, then SIGCONT",
        promise="0 failed; its late work is refused everywhere; stall at most two round deadlines",
        run=draft_stopped,
        short=1,
        long=40,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="orchestrator-stop",
        fault="orchestrator SIGSTOP, one of two, past its clients' patience with silence (3 s here), then SIGCONT",
        promise="the client resumes at the other, each token exactly once",
        run=orchestrator_stopped,
        short=1,
        long=40,
        longest_stall=SILENCE_SECONDS + STALL_SECONDS,
    ),
)
