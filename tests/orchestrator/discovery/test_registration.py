"""Replicas that register themselves: real processes, a real Redis, and an orchestrator that is told of no address."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tandem.errors import InvalidArgument
from tandem.registration import Registration, Registry
from tests.orchestrator.conftest import Served, Stage
from tests.support.redis_server import RedisServer
from verify_service.settings import VerifySettings


class Replica:
    """A draft or verify process whose model is a table."""

    def __init__(self, role: str, tokenizer: Path, redis_url: str) -> None:
        command = [sys.executable, "-m", "tests.support.table_service", role, str(tokenizer)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", f"TANDEM_{role.upper()}_REGISTER_AT": redis_url}
        self.role = role
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


@pytest.fixture
def replicas(own_redis: RedisServer, tokenizer_folder: Path) -> Iterator[list[Replica]]:
    """Two verify replicas and a draft replica."""
    started = [Replica(role, tokenizer_folder, own_redis.url) for role in ("verify", "verify", "draft")]
    yield started
    for replica in started:
        replica.process.kill()
        replica.process.wait()


async def registered(registry: Registry, role: str, count: int) -> dict[str, str]:
    """The registrations of a role, once there are so many that serve."""
    async with asyncio.timeout(60):
        while True:
            found = dict(await registry.get(role))
            if sum(standing == "serving" for standing in found.values()) == count:
                return found
            await asyncio.sleep(0.05)


async def test_replicas_are_found_used_and_left_by_their_registrations(
    own_redis: RedisServer, replicas: list[Replica], stage: Stage
) -> None:
    registry = Registry(own_redis.url)
    verify = await registered(registry, "verify", 2)
    await registered(registry, "draft", 1)
    for key in await registry._client.keys("tandem:*"):
        assert await registry._client.pttl(key) > 0
    served: Served = await stage.orchestrator(["redis:///verify"], ["redis:///draft"], redis_url=own_redis.url)
    placement = served.service._placement
    assert {link.address for link in placement.verify_links} == set(verify)
    options = {"max_tokens": 120, "seed": 3, "ignore_eos": True}
    whole = await served.text(**options)
    assert whole.finished.usage.num_spec_steps > 0

    reading = asyncio.create_task(served.text(**options))
    async with asyncio.timeout(20):
        while not (busy := [link for link in placement.verify_links if link.num_sessions]):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    pids = {replica.process.pid for replica in replicas if replica.role == "verify"}
    leaving = next(pid for pid in pids if busy[0].address.rsplit(":", 1)[1] in ports_of(pid))
    os.kill(leaving, signal.SIGTERM)
    assert (await reading).token_ids == whole.token_ids
    assert (await registered(registry, "verify", 1)).get(busy[0].address) in (None, "terminating")
    async with asyncio.timeout(20):
        while busy[0] in placement.verify_links:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert (await served.text(**options)).token_ids == whole.token_ids
    await registry.close()


def ports_of(pid: int) -> set[str]:
    """The ports that a process listens at."""
    return {str(one.laddr.port) for one in psutil.Process(pid).net_connections() if one.status == "LISTEN"}


async def test_a_registration_lapses_and_is_renewed_when_the_store_is_back(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem.registration.RENEW_SECONDS", 0.05)
    monkeypatch.setattr("tandem.registration.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("tandem.registration.EXPIRE_SECONDS", 0.3)
    registry = Registry(own_redis.url)
    registration = Registration(own_redis.url, "verify", "replica.example:7070")
    registration.start("127.0.0.1:1")
    assert await registered(registry, "verify", 1) == {"replica.example:7070": "serving"}
    own_redis.kill()
    own_redis.start()  # empty
    registry = Registry(own_redis.url)
    assert await registered(registry, "verify", 1) == {"replica.example:7070": "serving"}
    await registration.withdraw()
    assert await registry.get("verify") == {"replica.example:7070": "terminating"}
    await registration.close()
    async with asyncio.timeout(5):
        while await registry.get("verify"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await registry._client.exists("tandem:{replicas-verify}:addresses") == 0
    await registry.close()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--advertise", "a:1"], "register_at"),
        (["--register-at", "http://127.0.0.1"], "Redis URL"),
        (["--register-at", "redis://127.0.0.1", "--advertise", "a"], "host:port"),
    ],
)
def test_what_cannot_be_registered_is_refused(flags: list[str], expected: str) -> None:
    with pytest.raises(InvalidArgument, match=expected):
        VerifySettings.load(flags, {}).registration()
