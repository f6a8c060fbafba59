"""Replicas that take ten times as long as they did, or have become far away, for a while."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from tests.faults.disturbance import Disturbance, disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.stage import ROUND_TIMEOUT, Member, Stage, staged, until

USUAL_SECONDS, SLOW_SECONDS = 0.005, 0.05
"""What a pass takes."""

FAR_SECONDS = 0.05
"""What the way to a replica that is far away takes, and the way back."""

PAUSE_SECONDS = 2.0
"""For how long a slow replica is left alone the first time."""

LEFT_ALONE_SECONDS = 0.3
"""In which it is looked at whether it is."""


AGAIN_PASSES = 20
ALL_SLOW_SECONDS, BEGUN_SECONDS = 4.0, 1.0
"""For how long all replicas are slow; after how long the last pass that was not is over."""

STALL_SECONDS = ROUND_TIMEOUT + 3.0


async def verify_slow(given: Surroundings, num_trials: int) -> Figures:
    return await _slow(given, "verify", num_trials, SlowPasses)


async def draft_slow(given: Surroundings, num_trials: int) -> Figures:
    return await _slow(given, "draft", num_trials, SlowPasses)


async def verify_far(given: Surroundings, num_trials: int) -> Figures:
    return await _slow(given, "verify", num_trials, SlowNetwork)


async def _slow(given: Surroundings, role: str, num_trials: int, kind: type[Ailment]) -> Figures:
    """One of two is slow until it is found out and left; then it is as fast as before, and must be used again."""
    async with _under_load(given, proxied=kind is SlowNetwork) as (stage, found):
        figures, victims = found.figures, stage.of(role)
        found_out, passes_after, used_again = [], [], []
        for number in range(num_trials):
            victim = victims[number % len(victims)]
            await _all_in_use(stage)
            sessions, since = await found.under_way(), time.monotonic()
            num_ejections, ailment = _num_ejections(stage, role), kind(stage, victim)
            ailment.begin()
            await until(lambda before=num_ejections: _num_ejections(stage, role) > before, "it is found out")
            found_out.append(time.monotonic() - since)
            was_slow, after = ailment.was_felt, Work(stage, victim)
            await until(lambda left=victim: not _num_running(stage, left), "its sessions leave it")
            passes_after.append(after.num_passes)
            assert passes_after[-1] <= kind.most_passes_after, (
                f"{victim.name} made {passes_after[-1]} passes after it was found out"
            )
            await found.settle(sessions, since)
            idle = Work(stage, victim)
            await asyncio.sleep(LEFT_ALONE_SECONDS)
            assert not idle.num_passes, f"{victim.name} is used though it is slow"
            figures.trials += 1
            figures.took_effect += was_slow and bool(sessions)
            ailment.end()
            back = time.monotonic()
            await until(lambda again=idle: again.num_passes >= AGAIN_PASSES, "it is used again")
            used_again.append(time.monotonic() - back)
        other = "draft" if role == "verify" else "verify"
        figures.remarks.append(
            f"found out within {max(found_out):.1f} s; {max(passes_after):g} more passes at most; used again within "
            f"{max(used_again):.1f} s; {_num_ejections(stage, other):g} {other} replicas left for it"
        )
    return figures


async def all_slow(given: Surroundings, num_trials: int) -> Figures:
    """All replicas are slow at once, so that there is nowhere to go."""
    async with _under_load(given) as (stage, found):
        figures = found.figures
        for _ in range(num_trials):
            await _all_in_use(stage)
            sessions, since = await found.under_way(), time.monotonic()
            ailments = [SlowPasses(stage, member) for member in _replicas(stage)]
            for ailment in ailments:
                ailment.begin()
            await asyncio.sleep(BEGUN_SECONDS)
            works = [Work(stage, member) for member in _replicas(stage)]
            while time.monotonic() < since + ALL_SLOW_SECONDS:
                for role in ("verify", "draft"):
                    assert _num_ejected(stage, role) < len(stage.of(role)), f"no {role} replica is left"
                await asyncio.sleep(0.05)
            figures.trials += 1
            # One that was left has nothing to do; the others are slow, and of each kind there is one.
            busy = [work for work in works if work.num_passes]
            figures.took_effect += len(busy) >= 2 and all(work.mean_seconds > 0.9 * SLOW_SECONDS for work in busy)
            await found.settle(sessions, since)
            for ailment in ailments:
                ailment.end()
        ejections = _num_ejections(stage, "verify") + _num_ejections(stage, "draft")
        figures.remarks.append(f"{ejections:g} times a replica was left for it")
    return figures


class Work:
    """What a replica has done since this was made, by its own metrics."""

    def __init__(self, stage: Stage, member: Member) -> None:
        self._stage, self._member = stage, member
        self._before = self._totals()

    @property
    def num_passes(self) -> float:
        """Batches of drafting, or passes of the target."""
        return self._totals()[0] - self._before[0]

    @property
    def mean_seconds(self) -> float:
        """Of a batch of drafting, which is one pass at least, or of a pass; 0 where there was none."""
        (_, number, seconds), (_, number_before, seconds_before) = self._totals(), self._before
        return (seconds - seconds_before) / max(1.0, number - number_before)

    def _totals(self) -> tuple[float, float, float]:
        metrics = self._stage.metrics(self._member)
        timed = {"draft": "draft_seconds_{}", "verify": 'round_stage_seconds_{}{{stage="forward"}}'}[self._member.role]
        number, seconds = (metrics[f"tandem:{timed.format(suffix)}"] for suffix in ("count", "sum"))
        return metrics["tandem:batch_size_count"], number, seconds


class Ailment(Protocol):
    """Makes a replica slow, from `begin` to `end`."""

    most_passes_after: int
    """Of the replica after it was found out: its sessions are there for a few rounds more."""

    def __init__(self, stage: Stage, victim: Member) -> None: ...

    def begin(self) -> None: ...

    def end(self) -> None: ...

    @property
    def was_felt(self) -> bool:
        """Whether there is evidence of it."""


class SlowPasses(Ailment):
    """Each pass of its model takes ten times as long."""

    most_passes_after = 12

    def __init__(self, stage: Stage, victim: Member) -> None:
        self._victim = victim
        self._work = Work(stage, victim)

    def begin(self) -> None:
        self._victim.points.ask_for_pass_seconds(SLOW_SECONDS)

    def end(self) -> None:
        self._victim.points.ask_for_pass_seconds(USUAL_SECONDS)

    @property
    def was_felt(self) -> bool:
        return self._work.mean_seconds > 0.9 * SLOW_SECONDS


class SlowNetwork(Ailment):
    """All that goes to it or comes from it takes a while, and its model nothing more."""

    most_passes_after = 60  # quick ones: of texts without a drafter it makes 32 before it waits for their commit

    def __init__(self, stage: Stage, victim: Member) -> None:
        self._stage, self._victim = stage, victim

    def begin(self) -> None:
        assert self._victim.proxy is not None
        self._victim.proxy.network.delay_seconds = FAR_SECONDS

    def end(self) -> None:
        assert self._victim.proxy is not None
        self._victim.proxy.network.delay_seconds = 0.0

    @property
    def was_felt(self) -> bool:
        (orchestrator,) = self._stage.of("orchestrator")
        lines = [json.loads(line) for line in orchestrator.log.read_text().splitlines() if "is slow" in line]
        found = [line for line in lines if line["replica"] == self._victim.address]
        return bool(found) and "between" in found[-1]["by"] and found[-1]["seconds"] > FAR_SECONDS


@asynccontextmanager
async def _under_load(given: Surroundings, *, proxied: bool = False) -> AsyncIterator[tuple[Stage, Disturbance]]:
    flags = {"slow_pause": PAUSE_SECONDS}
    async with staged(given.zygote, given.folder, proxied=proxied, orchestrator=flags) as stage:
        for member in _replicas(stage):
            member.points.ask_for_pass_seconds(USUAL_SECONDS)
        async with disturbed(stage) as found:
            yield stage, found


async def _all_in_use(stage: Stage) -> None:
    """Waits until all replicas are at work and none is left alone: there is something to compare."""
    works = [Work(stage, member) for member in _replicas(stage)]
    await until(lambda: all(work.num_passes >= AGAIN_PASSES for work in works), "all replicas are in use")
    await until(lambda: not _num_ejected(stage, "verify") + _num_ejected(stage, "draft"), "none is left alone")


def _replicas(stage: Stage) -> list[Member]:
    return [*stage.of("verify"), *stage.of("draft")]


def _num_running(stage: Stage, member: Member) -> float:
    return stage.metrics(member)["tandem:num_requests_running"]


def _num_ejected(stage: Stage, role: str) -> float:
    (orchestrator,) = stage.of("orchestrator")
    return stage.metrics(orchestrator)[f'tandem:replicas_ejected{{role="{role}"}}']


def _num_ejections(stage: Stage, role: str) -> float:
    (orchestrator,) = stage.of("orchestrator")
    return stage.metrics(orchestrator).get(f'tandem:replica_ejections_total{{role="{role}"}}', 0.0)


ROWS = (
    Row(
        name="verify-slow",
        fault="verify replica a tenth as fast, one of two; then as fast as before",
        promise="0 failed; its sessions are elsewhere within a few rounds; it is used again",
        run=verify_slow,
        short=1,
        long=20,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="draft-slow",
        fault="draft replica a tenth as fast, one of two; then as fast as before",
        promise="0 failed; its sessions are elsewhere within a few rounds: the same is proposed; it is used again",
        run=draft_slow,
        short=0,
        long=20,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="verify-far",
        fault="verify replica 50 ms further away than the other one, each way; then as near as before",
        promise="0 failed; its sessions are elsewhere within a few rounds; it is used again",
        run=verify_far,
        short=0,
        long=10,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="all-slow",
        fault="all replicas of both kinds a tenth as fast",
        promise="0 failed; a replica of each kind is left at all times",
        run=all_slow,
        short=0,
        long=10,
        longest_stall=STALL_SECONDS,
    ),
)
