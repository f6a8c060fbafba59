"""Full disks: under Redis, which appends each write to a file, and under everybody's logs."""

from __future__ import annotations

import asyncio
import signal
import time

import redis

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.rows.store import RESUMED_SECONDS, is_told
from tests.faults.small_disk import allow_growth, forbid_growth, small_disk
from tests.faults.stage import Stage, staged, until

FULL_SECONDS = 1.0
STALL_SECONDS = 3.0


async def under_redis(given: Surroundings, num_trials: int) -> Figures:
    """It answers, and refuses each write once it could not append one (MISCONF)."""
    with small_disk(given.folder / "disk") as disk:
        flags = ["--dir", str(disk.folder), "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"]
        async with staged(given.zygote, given.folder, redis=flags) as stage, disturbed(stage) as found:
            for number in range(num_trials):
                sessions = await found.under_way()
                found.load.refuse_new()
                disk.fill(stage.redis.pid)
                await until(lambda stage=stage: not _appends(stage), "Redis cannot append")
                began = time.monotonic()
                told = await is_told(stage, number)
                await asyncio.sleep(began + FULL_SECONDS - time.monotonic())
                stood_still = not any(at > began + FULL_SECONDS / 2 for session in sessions for at in session.arrivals)
                disk.free(stage.redis.pid)
                await until(lambda stage=stage: _appends(stage), "Redis appends again")
                found.load.refusing = False
                await found.settle(sessions, time.monotonic())
                found.figures.stalls[-1] -= FULL_SECONDS  # from the end of it on
                found.figures.trials += 1
                found.figures.took_effect += told and stood_still and bool(sessions)
            found.figures.remarks += [disk.kind, f"{found.load.tally.num_refused} new requests were refused meanwhile"]
    return found.figures


def _appends(stage: Stage) -> bool:
    with redis.Redis(port=stage.redis.port) as store:
        return bool(store.info("persistence")["aof_last_write_status"] == "ok")


async def under_logs(given: Surroundings, num_trials: int) -> Figures:
    """No process can write a line, while there is something to be said: a replica dies."""
    async with staged(given.zygote, given.folder) as stage, disturbed(stage) as found:
        replicas = [*stage.of("draft"), *stage.of("verify")]
        for number in range(num_trials):
            victim = replicas[number % len(replicas)]
            assert victim.forked is not None
            others = [member for member in stage.members.values() if member is not victim]
            sessions = await found.under_way()
            for member in others:
                forbid_growth(member.pid)
            sizes = [member.log.stat().st_size for member in others]
            since = time.monotonic()
            victim.forked.send(signal.SIGKILL)
            await victim.forked.status
            await found.settle(sessions, since)
            found.figures.trials += 1
            found.figures.took_effect += sizes == [member.log.stat().st_size for member in others] and bool(sessions)
            for member in others:
                allow_growth(member.pid)
            await stage.start_member(victim)
            await stage.accepted(victim)
        num_told = sum(member.log.read_text().count("lines were lost") for member in stage.members.values())
        found.figures.remarks.append(f"{num_told} times a log says that lines were lost")
    return found.figures


ROWS = (
    Row(
        name="disk-full-redis",
        fault="the disk full that Redis appends its writes to, for a second",
        promise="as Redis away; recovers unaided",
        run=under_redis,
        short=1,
        long=40,
        longest_stall=RESUMED_SECONDS,
    ),
    Row(
        name="disk-full-logs",
        fault="the disk full that all processes log to, while a replica dies",
        promise="0 failed; lines are lost, and nothing else",
        run=under_logs,
        short=2,
        long=40,
        longest_stall=STALL_SECONDS,
    ),
)
