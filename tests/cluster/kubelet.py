"""A node whose pods are processes of this machine: each has a loopback address of its own, is probed, and is stopped
as a kubelet stops it (preStop, SIGTERM, the grace period, SIGKILL).
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import signal
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubernetes import client

from tests.cluster.bodies import Bodies
from tests.faults.spawning import Forked, Zygote

LOOK_SECONDS = 0.1
"""How often pods are looked at, and probed."""


@dataclass
class Pod:
    """A pod that runs here."""

    name: str
    component: str
    ip: str
    log: Path
    forked: Forked | None = None
    is_ready: bool = False
    is_leaving: bool = False
    num_restarts: int = 0
    task: asyncio.Task[None] | None = None
    spec: Any = None


@dataclass
class Kubelet:
    """One node, and the owner of what runs on it."""

    api: client.ApiClient
    zygote: Zygote
    folder: Path
    namespace: str
    name: str = field(default_factory=lambda: f"tandem-test-{secrets.token_hex(3)}")
    pods: dict[str, Pod] = field(default_factory=dict)
    ended_badly: list[str] = field(default_factory=list)
    """Processes that ended before they were told to, or had to be killed."""

    def __post_init__(self) -> None:
        self._core = client.CoreV1Api(self.api)
        self._bodies = Bodies(self.api, self.folder)
        network = secrets.randbelow(200) + 20
        self._ips = (f"127.{network}.{number // 250}.{number % 250 + 1}" for number in itertools.count())
        self._task: asyncio.Task[None] | None = None

    @property
    def selector(self) -> dict[str, str]:
        """The node selector of pods that are to run here."""
        return {"tandem.test/node": self.name}

    def running(self, component: str) -> list[Pod]:
        """Pods of a component that have not been told to stop."""
        return [pod for pod in self.pods.values() if pod.component == component and not pod.is_leaving]

    async def start(self) -> None:
        """Registers the node."""
        await asyncio.to_thread(self._register)
        self._task = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Kills what runs, and takes the node away."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        tasks = [pod.task for pod in self.pods.values() if pod.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for pod in self.pods.values():
            if pod.forked is not None:
                pod.forked.send(signal.SIGKILL)
                await asyncio.shield(pod.forked.status)
        await asyncio.to_thread(self._core.delete_node, self.name)

    def _register(self) -> None:
        room = {"cpu": "64", "memory": "256Gi", "pods": "500"}
        self._core.create_node(
            {"metadata": {"name": self.name, "labels": {**self.selector, "kubernetes.io/hostname": self.name}}}
        )
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Test",
            "lastHeartbeatTime": _now(),
            "lastTransitionTime": _now(),
        }
        self._core.patch_node_status(
            self.name,
            {
                "status": {
                    "capacity": room,
                    "allocatable": room,
                    "conditions": [ready],
                    "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                }
            },
        )
        self._core.patch_node(self.name, {"spec": {"taints": None}})

    async def _look(self) -> None:
        """Takes up pods that are bound to this node, and those that are to stop."""
        selector = f"spec.nodeName={self.name}"
        while True:
            found = await asyncio.to_thread(self._core.list_namespaced_pod, self.namespace, field_selector=selector)
            for spec in found.items:
                pod = self.pods.get(spec.metadata.uid)
                if pod is None:
                    component = spec.metadata.labels["app.kubernetes.io/component"]
                    name = spec.metadata.name
                    pod = self.pods[spec.metadata.uid] = Pod(
                        name, component, next(self._ips), self.folder / f"{name}.log"
                    )
                    pod.spec = spec
                    pod.task = asyncio.create_task(self._live(pod), name=name)
                if spec.metadata.deletion_timestamp is not None:
                    pod.is_leaving = True
            await asyncio.sleep(LOOK_SECONDS)

    async def _live(self, pod: Pod) -> None:
        body = await asyncio.to_thread(self._bodies.of, pod.spec, pod.ip)
        (container,) = pod.spec.spec.containers
        while not pod.is_leaving:
            pod.forked = await asyncio.shield(self.zygote.fork(body.module, body.argv, pod.log, body.environ))
            await self._tell(pod)
            while not pod.is_leaving and pod.forked.is_alive:
                is_ready = await asyncio.to_thread(_probe, pod.ip, container)
                if is_ready != pod.is_ready:
                    pod.is_ready = is_ready
                    await self._tell(pod)
                await asyncio.sleep(LOOK_SECONDS)
            if not pod.forked.is_alive:
                self.ended_badly.append(f"{pod.name} ended with {pod.forked.status.result()}: {pod.log}")
                pod.num_restarts, pod.is_ready = pod.num_restarts + 1, False
                await asyncio.sleep(1.0)
        await self._stop(pod, container)

    async def _stop(self, pod: Pod, container: Any) -> None:
        since = time.monotonic()
        grace = float(pod.spec.spec.termination_grace_period_seconds)
        assert pod.forked is not None
        if container.lifecycle is not None and container.lifecycle.pre_stop is not None:
            process = await asyncio.create_subprocess_exec(*container.lifecycle.pre_stop._exec.command)
            await process.wait()
        pod.forked.send(signal.SIGTERM)
        try:
            status = await asyncio.wait_for(asyncio.shield(pod.forked.status), since + grace - time.monotonic())
        except TimeoutError:
            pod.forked.send(signal.SIGKILL)
            status = await asyncio.shield(pod.forked.status)
        if status:
            self.ended_badly.append(f"{pod.name} ended with {status} when told to stop: {pod.log}")
        await asyncio.to_thread(self._delete, pod)

    async def _tell(self, pod: Pod) -> None:
        try:
            await asyncio.to_thread(self._patch, pod)
        except client.ApiException as error:
            if error.status != 404:
                raise

    def _patch(self, pod: Pod) -> None:
        (container,) = pod.spec.spec.containers
        now = _now()
        told = {"Initialized": True, "PodScheduled": True, "ContainersReady": pod.is_ready, "Ready": pod.is_ready}
        state = {
            "name": container.name,
            "image": container.image,
            "imageID": "none",
            "ready": pod.is_ready,
            "started": True,
            "restartCount": pod.num_restarts,
            "state": {"running": {"startedAt": now}},
        }
        self._core.patch_namespaced_pod_status(
            pod.name,
            self.namespace,
            {
                "status": {
                    "phase": "Running",
                    "startTime": now,
                    "podIP": pod.ip,
                    "podIPs": [{"ip": pod.ip}],
                    "conditions": [
                        {"type": kind, "status": str(holds), "lastTransitionTime": now} for kind, holds in told.items()
                    ],
                    "containerStatuses": [state],
                }
            },
        )

    def _delete(self, pod: Pod) -> None:
        try:
            self._core.delete_namespaced_pod(pod.name, self.namespace, grace_period_seconds=0)
        except client.ApiException as error:
            if error.status != 404:
                raise


def _probe(ip: str, container: Any) -> bool:
    """Asks what the pod's readiness probe asks."""
    if container.readiness_probe is None:
        return True
    probe = container.readiness_probe.http_get
    port = next(one.container_port for one in container.ports if one.name == probe.port)
    try:
        with urllib.request.urlopen(f"http://{ip}:{port}{probe.path}", timeout=2):
            return True
    except (OSError, urllib.error.URLError):
        return False


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
