"""A whole stack of real processes for one row of the matrix, and what can be done to each of them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tandem.engine.hosting import BLOCK_SIZE
from tests.faults.growing_log import GrowingLog
from tests.faults.points import Points
from tests.faults.proxy import BadNetwork
from tests.faults.spawning import Forked, Zygote
from tests.faults.tables import UNBOUNDED_BLOCKS, make_words
from tests.faults.wall_clock import WallClock
from tests.support.redis_server import RedisServer
from tests.support.replicated_redis import ReplicatedRedis

START_SECONDS = 90.0
ROUND_TIMEOUT = 2.0
"""The round deadline of all rows, in seconds."""

RECOVERY_TIMEOUT = 20.0
SESSION_TTL, RESUME_TTL = 60, 2
IDLE_SECONDS = 1.0
"""For how long a verify replica keeps a session that nobody follows."""


@dataclass
class Member:
    """A process of the stack; the same member when it is started again."""

    name: str
    role: str
    port: int
    module: str
    argv: list[str]
    folder: Path
    points: Points
    num_kv_slots: int
    proxy: BadNetwork | None = None
    """What the others reach it through."""
    forked: Forked | None = None
    ready: dict[str, Any] = field(default_factory=dict)
    num_starts: int = 0

    @property
    def address(self) -> str:
        """Where the others reach it."""
        return f"127.0.0.1:{self.proxy.port if self.proxy else self.port}"

    @property
    def clock(self) -> WallClock:
        return WallClock(self.folder, self.name)

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        assert self.forked is not None
        return self.forked.pid


class Stage:
    """Orchestrators, draft and verify replicas, and a Redis. Owner of all of them."""

    def __init__(self, zygote: Zygote, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.redis = RedisServer(folder)
        self.replicated: ReplicatedRedis | None = None
        """Where there is one, ``redis`` is its master."""
        self.members: dict[str, Member] = {}
        self.shipped = False
        self._logs: dict[str, GrowingLog] = {}
        self._zygote = zygote
        self._tokenizer = folder / "tokenizer"
        make_words(self._tokenizer)

    def of(self, role: str) -> list[Member]:
        """The members of a role, in order."""
        return [member for member in self.members.values() if member.role == role]

    @property
    def addresses(self) -> list[str]:
        """Where clients go."""
        return [member.address for member in self.of("orchestrator")]

    async def start(
        self,
        verifies: int = 2,
        drafts: int = 2,
        orchestrators: int = 1,
        *,
        mischief: bool = False,
        proxied: bool = False,
        shipped: bool = False,
        oddities: Mapping[str, tuple[str, object]] | None = None,
        redis: Sequence[str] = (),
        replicated: bool = False,
        clocks: bool = False,
        **flags: dict[str, object],
    ) -> None:
        """Starts everything; ``flags`` are further settings by role.

        ``mischief``: replicas' messages misarrive. ``proxied``: all but Redis is reached through a proxy each.
        ``shipped``: the models are the shipped pair instead of tables, and the replicas have no points.
        ``oddities``: by member, a field of its description and what stands there instead.
        ``redis``: flags of its server. ``replicated``: it has a replica, and a Sentinel.
        ``clocks``: the members' wall clocks can be set.
        """
        self.shipped = shipped
        if replicated:
            self.replicated = ReplicatedRedis(self.folder)
            self.replicated.start()
            self.redis = self.replicated.master
        else:
            self.redis.flags += redis
            self.redis.start()
        for role, count in (("verify", verifies), ("draft", drafts), ("orchestrator", orchestrators)):
            for number in range(count):
                member = self._add(role, number, flags.get(role, {}), shipped=shipped)
                if proxied:
                    member.proxy = BadNetwork(free_port(), member.port)
                    await member.proxy.start()
        for member in (*self.of("verify"), *self.of("draft")) if mischief else ():
            member.points.ask_for_mischief()
        for member in self.members.values() if clocks else ():
            member.clock.set(0.0)
        for name, oddity in (oddities or {}).items():
            self.members[name].points.ask_for_oddity(*oddity)
        await asyncio.gather(*(self.start_member(member) for member in self.members.values()))

    async def close(self) -> None:
        """Kills everything."""
        for member in self.members.values():
            if member.proxy is not None:
                await member.proxy.close()
            if member.forked is not None:
                member.forked.send(signal.SIGKILL)
                await member.forked.status
        self.redis.kill()
        if self.replicated is not None:
            self.replicated.close()

    async def start_member(self, member: Member) -> None:
        """Starts a member, on its port, and waits until it serves."""
        ready_file = member.folder / f"{member.name}.ready"
        ready_file.unlink(missing_ok=True)
        member.points.disarm()
        member.forked = await self._zygote.fork(member.module, member.argv, member.log)
        member.num_starts += 1
        deadline = time.monotonic() + START_SECONDS
        while not ready_file.exists():
            assert member.forked.is_alive, f"{member.name} did not start:\n{tail(member.log)}"
            assert time.monotonic() < deadline, f"{member.name} does not serve:\n{tail(member.log)}"
            await asyncio.sleep(0.005)
        member.ready = json.loads(ready_file.read_text())

    async def accepted(self, member: Member) -> None:
        """Waits until every living orchestrator has accepted a replica as often as it was started."""
        for orchestrator in self.of("orchestrator"):
            assert orchestrator.forked is not None
            if not orchestrator.forked.is_alive:
                continue
            log = self._logs.setdefault(orchestrator.name, GrowingLog(orchestrator.log))
            await until(
                lambda log=log: log.times_accepted(member.address) >= member.num_starts,
                f"{orchestrator.name} accepts {member.name}",
            )

    def metrics(self, member: Member) -> dict[str, float]:
        """All metrics of a living member, by name with labels."""
        with urllib.request.urlopen(member.ready["metrics"], timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def _add(self, role: str, number: int, flags: dict[str, object], *, shipped: bool) -> Member:
        name = f"{role}-{number}"
        port = free_port()
        common = ["--port", str(port), "--ready-file", str(self.folder / f"{name}.ready")]
        further = [part for flag, value in flags.items() for part in (f"--{flag.replace('_', '-')}", str(value))]
        module = "tests.faults.hooked_orchestrator" if role == "orchestrator" else "tests.faults.replica"
        hosted = [role, name, str(self.folder)]
        if shipped and role != "orchestrator":
            module, hosted = f"{role}_service.__main__", ["--threads", "1", "--dtype", "float32"]
        tokenizer = [] if shipped else [{"verify": "--target", "draft": "--draft"}.get(role, "--tokenizer")]
        tokenizer += [] if shipped else [str(self._tokenizer)]
        match role:
            case "verify":
                own = [*hosted, "--session-idle-seconds", str(IDLE_SECONDS)]
            case "draft":
                own = [*hosted, "--max-warm-sessions", "1"]
            case _:
                store = self.replicated or self.redis
                own = [name, str(self.folder), "--redis-url", store.url]
                own += ["--verify", ",".join(member.address for member in self.of("verify"))]
                own += ["--draft", ",".join(member.address for member in self.of("draft"))]
                own += ["--round-timeout", str(ROUND_TIMEOUT), "--recovery-timeout", str(RECOVERY_TIMEOUT)]
                own += ["--session-ttl", str(SESSION_TTL), "--resume-ttl", str(RESUME_TTL)]
        points = Points(self.folder, name)
        argv = [*own, *tokenizer, *common, *further]
        num_slots = int(str(flags.get("kv_blocks", UNBOUNDED_BLOCKS))) * BLOCK_SIZE
        member = self.members[name] = Member(name, role, port, module, argv, self.folder, points, num_slots)
        return member


@asynccontextmanager
async def staged(zygote: Zygote, folder: Path, **shape: Any) -> AsyncIterator[Stage]:
    """A stage that runs until the block ends. Arguments as `Stage.start`."""
    stage = Stage(zygote, folder)
    try:
        await stage.start(**shape)
        yield stage
    finally:
        await stage.close()


async def until(condition: Any, what: str, seconds: float = 30.0) -> None:
    """Waits until something comes to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        await asyncio.sleep(0.005)


_RANDOM = random.SystemRandom()
"""Whatever seeds the other: stages of two processes that drew alike would be given the same ports."""


def free_port() -> int:
    """A port outside the range that connections are given, so that it is still free when a member comes back to it."""
    while True:
        port = _RANDOM.randrange(15_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
            try:
                probe.close()
                with socket.socket() as bound:
                    bound.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def tail(log: Path, num_lines: int = 30) -> str:
    """The end of a log."""
    return "\n".join(log.read_text().splitlines()[-num_lines:]) if log.exists() else "(no log)"
