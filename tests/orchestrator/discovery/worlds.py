"""Where replicas come and go, by each way of finding them out: what is done to a world, a source is to tell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import kubernetes.client
import kubernetes.config
import pytest

from orchestrator.discovery import registered
from orchestrator.discovery.dns import Dns
from orchestrator.discovery.kubernetes import Kubernetes
from orchestrator.discovery.registered import Registered
from orchestrator.discovery.source import Endpoints, Source
from tandem.registration import Registry
from tests.support.kube_api import KubeApi, endpoint, running_kube_api
from tests.support.redis_server import RedisServer, running_redis
from tests.support.waiting import until

PORT = 7070


class World(Protocol):
    """Replicas by their IP addresses, all at `PORT`."""

    source: Source
    can_terminate: bool

    async def appear(self, ip: str) -> None: ...

    async def terminate(self, ip: str) -> None: ...

    async def vanish(self, ip: str) -> None: ...

    def go_away(self) -> None:
        """Whoever knows of the replicas can no longer be asked."""

    def come_back(self) -> None: ...


class DnsWorld:
    """A name's addresses, as a resolver tells them."""

    can_terminate = False

    def __init__(self) -> None:
        self.ips: list[str] = []
        self.is_away = False
        self.source: Source = Dns("replicas.example", PORT, resolve=self.resolve, every_seconds=0.02)

    async def resolve(self, host: str, port: int) -> list[str]:
        assert (host, port) == ("replicas.example", PORT)
        if self.is_away:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if not self.ips:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return list(self.ips)

    async def appear(self, ip: str) -> None:
        self.ips.append(ip)

    async def terminate(self, ip: str) -> None:
        raise NotImplementedError

    async def vanish(self, ip: str) -> None:
        self.ips.remove(ip)

    def go_away(self) -> None:
        self.is_away = True

    def come_back(self) -> None:
        self.is_away = False


class RedisWorld:
    """Registrations that are renewed for as long as their replica is there."""

    can_terminate = True

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        self.registry = Registry(redis.url)
        self.source: Source = Registered(redis.url, "verify")

    async def appear(self, ip: str) -> None:
        await self.registry.put("verify", f"{ip}:{PORT}", "serving")

    async def terminate(self, ip: str) -> None:
        await self.registry.put("verify", f"{ip}:{PORT}", "terminating")

    async def vanish(self, ip: str) -> None:
        await self.registry._client.delete(f"tandem:{{replicas-verify}}:{ip}:{PORT}")  # as if it had lapsed

    def go_away(self) -> None:
        self.redis.kill()

    def come_back(self) -> None:
        self.redis.start()  # it has lost everything
        self.registry = Registry(self.redis.url)


class KubeWorld:
    """One slice that changes, at a small server that speaks the API."""

    can_terminate = True

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.pods: dict[str, dict[str, Any]] = {}
        self.source: Source = Kubernetes("", "verify", "grpc")

    def _put(self) -> None:
        self.api.put_slice("verify", "verify-1", list(self.pods.values()) or None)

    async def appear(self, ip: str) -> None:
        self.pods[ip] = endpoint(ip, ready=False)
        self._put()

    async def terminate(self, ip: str) -> None:
        self.pods[ip] = endpoint(ip, terminating=True)
        self._put()

    async def vanish(self, ip: str) -> None:
        del self.pods[ip]
        self._put()

    def go_away(self) -> None:
        self.api.stop()

    def come_back(self) -> None:
        self.api.start()


class ClusterWorld:
    """The same, at a real control plane: slices that a test writes, of a service without a selector."""

    can_terminate = True

    def __init__(self) -> None:
        self.slices = kubernetes.client.DiscoveryV1Api()
        self.name = f"discovery-{secrets.token_hex(4)}"
        self.pods: dict[str, dict[str, Any]] = {}
        self.source: Source = Kubernetes("default", self.name, "grpc")

    async def _write(self) -> None:
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": self.name, "labels": {"kubernetes.io/service-name": self.name}},
            "addressType": "IPv4",
            "ports": [{"name": "grpc", "port": PORT, "protocol": "TCP"}],
            "endpoints": list(self.pods.values()),
        }
        api, fields = self.slices, {"_preload_content": False}
        try:
            await asyncio.to_thread(api.replace_namespaced_endpoint_slice, self.name, "default", body, **fields)
        except kubernetes.client.ApiException as error:
            if error.status != 404:
                raise
            await asyncio.to_thread(api.create_namespaced_endpoint_slice, "default", body, **fields)

    async def appear(self, ip: str) -> None:
        self.pods[ip] = endpoint(ip, ready=False)
        await self._write()

    async def terminate(self, ip: str) -> None:
        self.pods[ip] = endpoint(ip, terminating=True)
        await self._write()

    async def vanish(self, ip: str) -> None:
        del self.pods[ip]
        await self._write()

    def go_away(self) -> None:
        pytest.skip("a control plane that others use stays where it is")

    def come_back(self) -> None:
        raise NotImplementedError


@contextmanager
def world(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world of that kind, without any replica."""
    if kind == "dns":
        yield DnsWorld()
    elif kind == "redis":
        monkeypatch.setattr(registered, "HOLD_SECONDS", 0.3)
        monkeypatch.setattr(registered, "LOOK_EVERY_SECONDS", 0.05)
        with running_redis(folder) as redis:
            yield RedisWorld(redis)
    elif kind == "kubernetes":
        with running_kube_api() as api:
            monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(folder)))
            yield KubeWorld(api)
    else:
        kubeconfig = os.environ.get("TANDEM_TEST_KUBECONFIG", "")
        if not kubeconfig:
            pytest.skip("TANDEM_TEST_KUBECONFIG names no kubeconfig: there is no control plane to ask")
        monkeypatch.setenv("KUBECONFIG", kubeconfig)
        kubernetes.config.load_kube_config(kubeconfig)
        made = ClusterWorld()
        try:
            yield made
        finally:
            with contextlib.suppress(kubernetes.client.ApiException):
                made.slices.delete_namespaced_endpoint_slice(made.name, "default", _preload_content=False)


class Told:
    """What a source has told."""

    def __init__(self) -> None:
        self.all: list[Endpoints] = []

    @property
    def last(self) -> Endpoints | None:
        return self.all[-1] if self.all else None

    async def until(self, **standings: str) -> None:
        """Waits until the last told is this, by IP addresses with underscores for dots."""
        wanted = {f"{ip.strip('_').replace('_', '.')}:{PORT}": standing for ip, standing in standings.items()}
        await self.until_last(lambda last: last == wanted)

    async def until_last(self, condition: Callable[[Endpoints | None], bool]) -> None:
        await until(lambda: condition(self.last))


@asynccontextmanager
async def followed(source: Source) -> AsyncIterator[Told]:
    """A source that is being followed."""
    told = Told()
    task = asyncio.create_task(source.follow(told.all.append))
    try:
        yield told
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
