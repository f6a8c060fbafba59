"""Redis restarts, stays away, and comes back without its last writes."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time

import redis

from tandem.client import AsyncClient
from tandem.client.attempts import Patience
from tandem.errors import Unavailable
from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.load import Ask
from tests.faults.stage import Stage, staged

RESUMED_SECONDS = 2.0
"""Sessions go on at the latest so long after Redis is back."""

AT_ONCE_SECONDS = 2.0
"""In which new work is told that the store is away: generous."""

REFUSING_SECONDS = 1.0

LOST_SECONDS = 0.3
"""Writes of so long are lost."""

EXPIRED_SECONDS = 8
"""When a session is gone that had ended after the snapshot, and came back to life with it."""


async def restarted(given: Surroundings, num_trials: int) -> Figures:
    """Killed, and started again at once: empty."""
    async with staged(given.zygote, given.folder) as stage, disturbed(stage) as found:
        for _ in range(num_trials):
            before, sessions = run_id(stage), await found.under_way()
            stage.redis.kill()
            stage.redis.start()
            since = time.monotonic()
            await found.settle(sessions, since)
            found.figures.trials += 1
            found.figures.took_effect += run_id(stage) != before and bool(sessions)
    return found.figures


async def away_for_a_while(given: Surroundings, num_trials: int) -> Figures:
    return await _away(given, num_trials, seconds=3.0)


async def away_for_long(given: Surroundings, num_trials: int) -> Figures:
    return await _away(given, num_trials, seconds=30.0)


async def _away(given: Surroundings, num_trials: int, seconds: float) -> Figures:
    flags = {"recovery_timeout": 60}
    async with staged(given.zygote, given.folder, orchestrator=flags) as stage, disturbed(stage) as found:
        for number in range(num_trials):
            sessions = await found.under_way()
            found.load.refuse_new()
            stage.redis.kill()
            gone = time.monotonic()
            told = await is_told(stage, number)
            await asyncio.sleep(gone + seconds - time.monotonic())
            stood_still = not any(at > gone + seconds / 2 for session in sessions for at in session.arrivals)
            stage.redis.start()
            found.load.refusing = False
            await found.settle(sessions, time.monotonic())
            found.figures.stalls[-1] -= seconds  # from its return on
            found.figures.trials += 1
            found.figures.took_effect += told and stood_still and bool(sessions)
    return found.figures


async def refuses_writes(given: Surroundings, num_trials: int) -> Figures:
    """Full, then read-only, by turns: it answers, and refuses."""
    async with staged(given.zygote, given.folder) as stage, disturbed(stage) as found:
        for number in range(num_trials):
            sessions = await found.under_way()
            found.load.refuse_new()
            began = time.monotonic()
            with redis.Redis(port=stage.redis.port) as store:
                if number % 2:
                    store.replicaof("127.0.0.1", "1")  # of nobody: stale, and read-only
                else:
                    store.config_set("maxmemory", "1")
                told = await is_told(stage, number)
                await asyncio.sleep(began + REFUSING_SECONDS - time.monotonic())
                stood_still = not any(
                    at > began + REFUSING_SECONDS / 2 for session in sessions for at in session.arrivals
                )
                store.config_set("maxmemory", "0")
                store.replicaof("NO", "ONE")
            found.load.refusing = False
            await found.settle(sessions, time.monotonic())
            found.figures.stalls[-1] -= REFUSING_SECONDS  # from the end of it on
            found.figures.trials += 1
            found.figures.took_effect += told and stood_still and bool(sessions)
    return found.figures


async def is_told(stage: Stage, seed: int) -> bool:
    """Whether new work is refused at once."""
    ask = Ask("autoregressive", seed, 1)
    async with AsyncClient(stage.addresses, Patience(start_seconds=0.0)) as client:
        try:
            async with asyncio.timeout(AT_ONCE_SECONDS):
                await client.generate(ask.prompt, **ask.options)
        except Unavailable:
            return True
    return False


async def last_writes_lost(given: Surroundings, num_trials: int) -> Figures:
    """Comes back as it was a moment before, while the orchestrator knows better."""
    flags = {"session_ttl": EXPIRED_SECONDS}
    async with staged(given.zygote, given.folder, orchestrator=flags) as stage, disturbed(stage) as found:
        for _ in range(num_trials):
            sessions = await found.under_way()
            await _snapshot_then_lose(stage)
            since = time.monotonic()
            await found.settle(sessions, since)
            found.figures.trials += 1
            found.figures.took_effect += bool(sessions)
        found.figures.remarks.append(f"{logged(stage, 'writing it back')} sessions were written back by orchestrators")
    return found.figures


async def rolled_back_under_a_moved_session(given: Surroundings, num_trials: int) -> Figures:
    """A failover with an older epoch: sessions moved after the snapshot, and their orchestrator dies with the writes.

    The other orchestrator finds an older text and an older epoch in Redis, the client has the newer text, the replicas
    know the newer epoch.
    """
    flags = {"session_ttl": EXPIRED_SECONDS}
    async with (
        staged(given.zygote, given.folder, orchestrators=2, orchestrator=flags) as stage,
        disturbed(stage) as found,
    ):
        turns = itertools.cycle(itertools.product(stage.of("orchestrator"), stage.of("draft")))
        for orchestrator, draft in itertools.islice(turns, num_trials):
            assert orchestrator.forked is not None
            assert draft.forked is not None
            sessions = await found.under_way()
            _save(stage)
            found.load.forget_new()
            draft.forked.send(signal.SIGKILL)  # its sessions move, under higher epochs
            await draft.forked.status
            await asyncio.sleep(LOST_SECONDS)
            orchestrator.forked.send(signal.SIGKILL)
            stage.redis.kill()
            stage.redis.start()
            found.load.unsaved = False
            since = time.monotonic()
            await asyncio.gather(stage.start_member(orchestrator), stage.start_member(draft))
            await found.settle(sessions, since)
            await stage.accepted(draft)
            found.figures.trials += 1
            found.figures.took_effect += bool(sessions)
        found.figures.remarks += [
            f"{logged(stage, 'restoring them from the client')} texts were written back from their clients",
            f"{logged(stage, 'is fenced off here')} times an epoch was outbid that Redis had forgotten",
            f"{len(found.load.tally.lost)} sessions, begun after the snapshot, ended in DATA_LOSS",
        ]
    return found.figures


def _save(stage: Stage) -> None:
    with redis.Redis(port=stage.redis.port) as store:
        store.save()


async def _snapshot_then_lose(stage: Stage) -> None:
    _save(stage)
    await asyncio.sleep(LOST_SECONDS)
    stage.redis.kill()
    stage.redis.start()


def run_id(stage: Stage) -> str:
    """What tells one run of the Redis server from another."""
    with redis.Redis(port=stage.redis.port) as store:
        return str(store.info("server")["run_id"])


def logged(stage: Stage, words: str) -> int:
    """How often orchestrators have said so."""
    return sum(member.log.read_text().count(words) for member in stage.of("orchestrator"))


ROWS = (
    Row(
        name="redis-restart",
        fault="Redis SIGKILL, started again at once, empty",
        promise="nothing emitted is contradicted; sessions go on within 2 s",
        run=restarted,
        short=2,
        long=200,
        longest_stall=RESUMED_SECONDS,
    ),
    Row(
        name="redis-away",
        fault="Redis away for 3 s",
        promise="new work gets UNAVAILABLE; sessions go on within 2 s of its return",
        run=away_for_a_while,
        short=1,
        long=5,
        longest_stall=RESUMED_SECONDS,
    ),
    Row(
        name="redis-away-long",
        fault="Redis away for 30 s",
        promise="new work gets UNAVAILABLE; sessions go on within 2 s of its return",
        run=away_for_long,
        short=0,
        long=1,
        longest_stall=RESUMED_SECONDS,
    ),
    Row(
        name="redis-refuses",
        fault="Redis full, and read-only, for a second",
        promise="as Redis away; recovers unaided",
        run=refuses_writes,
        short=2,
        long=50,
        longest_stall=RESUMED_SECONDS,
    ),
    Row(
        name="redis-lost-writes",
        fault="Redis comes back without its last writes",
        promise="what was shown is written back by the orchestrator; nothing is contradicted",
        run=last_writes_lost,
        short=1,
        long=50,
        longest_stall=RESUMED_SECONDS,
    ),
    Row(
        name="redis-rollback",
        fault="Redis comes back with an older text and an older epoch, and an orchestrator dies with it",
        promise="what was shown is written back from the client; the fence goes past the replicas' epoch",
        run=rolled_back_under_a_moved_session,
        short=1,
        long=60,
    ),
)
