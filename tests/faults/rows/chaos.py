"""Faults of all kinds at random moments, one after another and at the same time."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.faults.disturbance import SETTLE_SECONDS, Disturbance, disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.rows.store import run_id
from tests.faults.stage import Member, Stage, staged

LONGEST_PAUSE_SECONDS = 0.6
"""Between the beginnings of two faults: shorter than most take to be mended."""

ROUND_TIMEOUT, LEASE_TIMEOUT = 0.5, 1.0
SESSION_TTL, RESUME_TTL = 20, 10
"""Longer than several faults at once keep a session from moving, on a machine that is busy besides."""

STOPPED_SECONDS = 1.5
CALM_SECONDS = 0.3
"""No orchestrator has died for so long before Redis forgets everything: somebody must remember."""


class Chaos:
    """What is broken now. At least one draft replica and one orchestrator are left at any time, as is promised for."""

    def __init__(self, stage: Stage, found: Disturbance, mending: asyncio.TaskGroup, seed: int) -> None:
        """Mends what it breaks in tasks of ``mending``, so that what cannot be mended ends the row at once."""
        self.stage, self.found = stage, found
        self.counts: Counter[str] = Counter()
        self._mending = mending
        self._random = random.Random(seed)
        self._broken: set[str] = set()
        self._orchestrator_died_at = time.monotonic()

    async def strike(self) -> None:
        """Begins one fault, which is mended while the next ones strike."""
        while True:
            name, fault = self._random.choice(list(self._faults().items()))
            candidates = [member for member in self.stage.members.values() if self._may_break(name, member)]
            if candidates:
                break
            await asyncio.sleep(0.01)
        member = self._random.choice(candidates)
        self._broken.add(member.name)
        if member.role == "orchestrator":
            self._orchestrator_died_at = time.monotonic()
        self.counts[name] += 1
        self._mending.create_task(self._run(fault, member), name=f"{name} {member.name}")
        await asyncio.sleep(self._random.uniform(0, LONGEST_PAUSE_SECONDS))

    def _faults(self) -> dict[str, Callable[[Member], Awaitable[bool]]]:
        return {"SIGKILL": self._kill, "SIGTERM": self._terminate, "SIGSTOP": self._stop, "Redis": self._redis}

    def _may_break(self, name: str, member: Member) -> bool:
        if name == "Redis":
            is_calm = time.monotonic() > self._orchestrator_died_at + CALM_SECONDS
            return is_calm and member.role == "orchestrator" and not self._roles_broken("orchestrator")
        if name == "SIGSTOP" and member.role == "orchestrator":
            return False  # its clients wait for it: nothing is promised
        if member.role == "verify":
            return member.name not in self._broken
        return not self._roles_broken(member.role)

    def _roles_broken(self, role: str) -> set[str]:
        return {name for name in self._broken if name.startswith(role)}

    async def _run(self, fault: Callable[[Member], Awaitable[bool]], member: Member) -> None:
        took_effect = await fault(member)
        self.found.figures.trials += 1
        self.found.figures.took_effect += took_effect
        self._broken.discard(member.name)
        if member.role == "orchestrator":
            self._orchestrator_died_at = time.monotonic()

    async def _kill(self, member: Member) -> bool:
        return await self._end(member, signal.SIGKILL, -signal.SIGKILL)

    async def _terminate(self, member: Member) -> bool:
        return await self._end(member, signal.SIGTERM, 0)

    async def _end(self, member: Member, number: signal.Signals, expected: int) -> bool:
        assert member.forked is not None
        member.forked.send(number)
        status = await member.forked.status
        await self.stage.start_member(member)
        if member.role != "orchestrator":
            await self.stage.accepted(member)
        return status == expected

    async def _stop(self, member: Member) -> bool:
        assert member.forked is not None
        member.forked.send(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_SECONDS)
        member.forked.send(signal.SIGCONT)
        return member.forked.is_alive

    async def _redis(self, _: Member) -> bool:
        before = run_id(self.stage)
        for session in self.found.load.live:
            session.may_be_lost = True  # where its client is just between two orchestrators
        self.stage.redis.kill()
        self.stage.redis.start()
        return run_id(self.stage) != before


@asynccontextmanager
async def struck(given: Surroundings, seed: int) -> AsyncIterator[Chaos]:
    """A stage under load for chaos to strike while the block lasts; then all is mended, and must go on."""
    flags = {"round_timeout": ROUND_TIMEOUT, "lease_timeout": LEASE_TIMEOUT}
    flags |= {"session_ttl": SESSION_TTL, "resume_ttl": RESUME_TTL}
    async with (
        staged(given.zygote, given.folder, orchestrators=2, orchestrator=flags) as stage,
        disturbed(stage) as found,
    ):
        await found.under_way()
        async with asyncio.TaskGroup() as mending:
            yield Chaos(stage, found, mending, seed)
        await found.load.settled(set(found.load.live), time.monotonic(), SETTLE_SECONDS)


async def at_random(given: Surroundings, num_trials: int) -> Figures:
    async with struck(given, seed=num_trials) as chaos:
        for _ in range(num_trials):
            await chaos.strike()
    figures = chaos.found.figures
    figures.remarks.append(", ".join(f"{count} × {name}" for name, count in sorted(chaos.counts.items())))
    figures.remarks.append(f"{len(figures.tally.lost)} sessions ended in DATA_LOSS")
    return figures


ROWS = (
    Row(
        name="chaos",
        fault="SIGKILL, SIGTERM, SIGSTOP of any process and forgetful Redis restarts, at random moments, overlapping",
        promise="0 failed, 0 wrong while one draft replica and one orchestrator are left",
        run=at_random,
        short=6,
        long=300,
    ),
)
