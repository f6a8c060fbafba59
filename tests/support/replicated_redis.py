"""A Redis server with a replica, and a Sentinel that names which of the two is the master: real processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis

from tests.support.redis_server import RedisServer, await_port, free_port, redis_executable

MASTER = "sessions"
DOWN_AFTER_MS = 500
"""After which a server that does not answer is taken for dead."""

PATIENCE_SECONDS = 30.0


class ReplicatedRedis:
    """Owner of the three processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.servers = (RedisServer(folder), RedisServer(folder))
        self._sentinel_port = free_port()
        self.url = f"redis+sentinel://127.0.0.1:{self._sentinel_port}/{MASTER}"
        self._sentinel: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for server in self.servers:
            server.flags += ["--dbfilename", f"{server.port}.rdb", "--repl-diskless-sync-delay", "0"]
            server.start()
        first, second = self.servers
        self.replicate(second, first)
        settings = self._folder / "sentinel.conf"
        settings.write_text(
            f"port {self._sentinel_port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {first.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER} 1000\n"
        )
        self._sentinel = subprocess.Popen(
            [redis_executable(), str(settings), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await_port(self._sentinel_port, self._sentinel)
        self.await_replica()

    def close(self) -> None:
        """Kills all three."""
        for server in self.servers:
            server.kill()
        if self._sentinel is not None:
            self._sentinel.kill()
            self._sentinel.wait()

    @property
    def master(self) -> RedisServer:
        """The one that the Sentinel names."""
        with redis.Redis(port=self._sentinel_port) as sentinel:
            _, port = sentinel.sentinel_get_master_addr_by_name(MASTER)
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        master = self.master
        return next(server for server in self.servers if server is not master)

    def cut_off(self) -> None:
        """The replica hears no more from its master, and stands as it is: what is written from now on is not there."""
        with redis.Redis(port=self.replica.port) as store:
            store.replicaof("NO", "ONE")

    def replicate(self, server: RedisServer, master: RedisServer) -> None:
        """Makes ``server`` a replica, and waits until it has all that the master has."""
        with redis.Redis(port=server.port) as store:
            store.replicaof("127.0.0.1", str(master.port))
            _until(lambda: store.info("replication").get("master_link_status") == "up", "a replica is in step")

    def await_replica(self) -> None:
        """Waits until the Sentinel has met a replica that it could make the master."""
        with redis.Redis(port=self._sentinel_port) as sentinel:
            _until(
                lambda: any(
                    slave["master-link-status"] == "ok" and not slave["is_disconnected"] and not slave["is_sdown"]
                    for slave in sentinel.sentinel_slaves(MASTER)
                ),
                "the Sentinel has met the replica",
            )


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.02)
