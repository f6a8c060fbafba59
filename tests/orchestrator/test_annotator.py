"""The annotator as a process: pods of a small API server, whose metrics are those of real replicas."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.annotator import COST
from tandem.rpc.http import HttpServer, application
from tests.support.kube_api import PODS, KubeApi, running_kube_api
from tests.support.redis_server import free_port
from tests.support.waiting import until
from verify_service.metrics import VerifyMetrics

SELECTOR = "app.kubernetes.io/part-of=tandem,app.kubernetes.io/component in (verify,draft)"
LABELS = {"app.kubernetes.io/part-of": "tandem", "app.kubernetes.io/component": "verify"}


@pytest.fixture
def api() -> Iterator[KubeApi]:
    with running_kube_api() as served:
        yield served


def put(api: KubeApi, name: str, metrics_port: int, labels: dict[str, str] = LABELS, **metadata: Any) -> None:
    ports = [{"name": "grpc", "containerPort": 7070}, {"name": "metrics", "containerPort": metrics_port}]
    api.put(PODS, name, labels, spec={"containers": [{"ports": ports}]}, status={"podIP": "127.0.0.1"})
    api.object(PODS, name)["metadata"].update(metadata)


def started(kubeconfig: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "orchestrator.annotator", "--selector", SELECTOR, "--every-seconds", "0.1"]
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "TANDEM_LOG_LEVEL": "warning"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


@asynccontextmanager
async def replica_metrics() -> AsyncIterator[tuple[VerifyMetrics, int]]:
    """What a verify replica counts, and the port where it is served."""

    async def ready() -> str:
        return ""

    registry = CollectorRegistry()
    metrics = VerifyMetrics(registry)
    server = HttpServer(application(registry, lambda: True, ready), "127.0.0.1", 0)
    server.start()
    try:
        yield metrics, int(server.url.rsplit(":", 1)[1])
    finally:
        await server.close()


def cost(api: KubeApi, name: str) -> str | None:
    found = api.object(PODS, name)["metadata"].get("annotations", {}).get(COST)
    return None if found is None else str(found)


async def test_each_pod_is_told_by_its_sessions(api: KubeApi, tmp_path: Path) -> None:
    async with replica_metrics() as (busy, port), replica_metrics() as (_, idle):
        put(api, "busy", port)
        put(api, "idle", idle)
        put(api, "leaving", port, deletionTimestamp="2026-01-01T00:00:00Z")
        put(api, "silent", free_port())
        put(api, "other", port, labels=LABELS | {"app.kubernetes.io/part-of": "other"})
        busy.running.set(7)
        process = started(api.kubeconfig(tmp_path))
        try:
            async with asyncio.timeout(60):
                while len(api.patches) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
            assert [cost(api, name) for name in ("busy", "idle", "leaving", "silent", "other")] == (
                ["7", "0", None, None, None]
            )
            assert len(api.patches) == 2  # what has not changed is not written again
            api.refuses = 500
            await asyncio.sleep(0.3)
            api.refuses = None
            busy.running.set(0)
            await until(lambda: cost(api, "busy") == "0")
        finally:
            process.terminate()
            _, errors = await asyncio.to_thread(process.communicate, timeout=20)
        assert process.returncode == 0
        assert b"the API server answers 500" in errors
        assert {body["metadata"]["annotations"].keys() == {COST} for _, body in api.patches} == {True}
