"""Whether a stack is back to where it was: KV, file descriptors, Redis keys."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import psutil
import redis

from tests.faults.stage import Member, Stage

PATIENCE_SECONDS = 25.0
WARM_TOKENS = 4096
"""KV slots that the one text may take which a draft replica keeps warm."""


@dataclass(frozen=True)
class Baseline:
    """The stack at rest, before any fault."""

    num_fds: dict[str, int]
    """By member, with a connection to each of its peers."""


async def at_rest(stage: Stage) -> Baseline:
    """The stack as it is once nothing runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while remains := _remains(stage, None):
        assert time.monotonic() < deadline, remains
        await asyncio.sleep(0.05)
    # Draft and verify replicas connect when they are first brought together, which may be later than this; so does an
    # orchestrator with Redis, a second time, when it first writes.
    peers = {"draft": len(stage.of("verify")), "verify": len(stage.of("draft")), "orchestrator": 1}
    return Baseline({member.name: _num_fds(member) + peers[member.role] for member in stage.members.values()})


async def left_behind(stage: Stage, baseline: Baseline) -> list[str]:
    """What is still held, though nothing runs any more and everybody had time to let go."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        remains = _remains(stage, baseline)
        if not remains or time.monotonic() > deadline:
            return remains
        await asyncio.sleep(0.05)


def keys_without_expiry(stage: Stage) -> list[str]:
    """Keys in Redis that would live for ever."""
    with redis.Redis(port=stage.redis.port) as store:
        return [key.decode() for key in store.scan_iter(count=1000) if store.ttl(key) == -1]


def _remains(stage: Stage, baseline: Baseline | None) -> list[str]:
    found = []
    with redis.Redis(port=stage.redis.port) as store:
        if num_keys := store.dbsize():
            found.append(f"{num_keys} keys are left in Redis")
    for member in stage.members.values():
        num_fds = _num_fds(member)  # before the metrics are asked for, which takes a connection
        metrics = stage.metrics(member)
        if running := metrics["tandem:num_requests_running"]:
            found.append(f"{member.name} still counts {running:g} sessions as running")
        allowed = {"verify": 0, "draft": WARM_TOKENS}.get(member.role)
        if allowed is not None and (held := metrics["tandem:kv_cache_usage_perc"] * member.num_kv_slots) > allowed:
            found.append(f"{member.name} still holds {held:.0f} KV slots")
        if baseline is not None and (excess := num_fds - baseline.num_fds[member.name]) > 0:
            found.append(f"{member.name} has {excess} more file descriptors than before")
    return found


def _num_fds(member: Member) -> int:
    return psutil.Process(member.pid).num_fds()
