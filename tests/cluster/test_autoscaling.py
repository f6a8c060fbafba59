"""The autoscalers of the chart, on what the replicas export under real load."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kubernetes import client

from tests.cluster.conftest import Cluster
from tests.cluster.metrics_api import MetricsApi
from tests.cluster.service_proxy import ServiceProxy
from tests.faults.load import Load, asks

MOST = {"verify": 4, "draft": 3}
BUSY_WIDTH, QUIET_WIDTH = 32, 2
"""Sessions at once under which the pools grow, and shrink."""

QUICK = {
    "scaleUp": {"stabilizationSeconds": 0, "percent": 100, "pods": 2, "periodSeconds": 2},
    "scaleDown": {"stabilizationSeconds": 2, "pods": 1, "periodSeconds": 1},
}
"""Minutes as seconds."""

REPLICAS = "app.kubernetes.io/component in (verify,draft)"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

TARGETS = {"verify": {"roundsWaiting": 0.4}, "draft": {"busyShare": 0.5}}


@pytest.mark.timeout(300)
async def test_each_pool_follows_its_own_load_and_no_text_suffers(cluster: Cluster, door: ServiceProxy) -> None:
    pools = {
        role: {"autoscaling": {"enabled": True, "maxReplicas": most, "targets": TARGETS[role], **QUICK}}
        for role, most in MOST.items()
    }
    names = {"num_rounds_waiting", "kv_cache_usage_perc", "busy_share", "queue_wait_seconds", "speculation_deficit"}
    metrics = MetricsApi(cluster.api, cluster.namespace, {f"tandem_{name}" for name in names}, cluster.folder)
    await asyncio.to_thread(metrics.start)
    load = Load([door.address], asks(range(8)))
    try:
        await cluster.helm.install(annotator={"enabled": True}, **pools)
        assert ready(cluster) == {"verify": 1, "draft": 1}
        await load.learn()
        async with load.running(BUSY_WIDTH):
            await scaled(cluster, MOST)
            await annotated(cluster)
        async with load.running(QUIET_WIDTH):
            await scaled(cluster, {"verify": 1, "draft": 1})
        assert load.tally.failed == []
        assert load.tally.wrong == []
        assert cluster.kubelet.ended_badly == []
        assert metrics.seen["tandem_num_rounds_waiting"] > 4 * 0.4
        assert metrics.seen["tandem_busy_share"] > 0.5
        hpas = await asyncio.to_thread(autoscalers, cluster)
        assert {one.metadata.name for one in hpas} == {"tandem-verify", "tandem-draft"}
    finally:
        await load.client.close()
        await cluster.helm.uninstall()
        await asyncio.to_thread(metrics.close)


def ready(cluster: Cluster) -> dict[str, int]:
    """Replicas that are ready and not told to stop, by pool."""
    return {role: sum(pod.is_ready for pod in cluster.kubelet.running(role)) for role in MOST}


async def scaled(cluster: Cluster, wanted: dict[str, int], seconds: float = 90.0) -> None:
    """Waits until each pool has had so many ready replicas, not necessarily at the same time."""
    missing = set(wanted)
    deadline = asyncio.get_running_loop().time() + seconds
    while missing:
        now = ready(cluster)
        missing -= {role for role in missing if now[role] == wanted[role]}
        if asyncio.get_running_loop().time() > deadline:
            said = [one.status.to_dict() for one in await asyncio.to_thread(autoscalers, cluster)]
            raise AssertionError(f"{missing} did not come to {wanted}, but to {now}: {said}")
        await asyncio.sleep(0.1)


async def annotated(cluster: Cluster, seconds: float = 30.0) -> None:
    """Waits until the annotator has said of every replica what it would cost to lose it."""
    core = client.CoreV1Api(cluster.api)
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        pods = await asyncio.to_thread(core.list_namespaced_pod, cluster.namespace, label_selector=REPLICAS)
        costs = [(pod.metadata.annotations or {}).get(DELETION_COST) for pod in pods.items]
        if all(cost is not None for cost in costs) and any(cost != "0" for cost in costs):
            return
        assert asyncio.get_running_loop().time() < deadline, f"costs of losing a replica are {costs}"
        await asyncio.sleep(0.2)


def autoscalers(cluster: Cluster) -> Any:
    return client.AutoscalingV2Api(cluster.api).list_namespaced_horizontal_pod_autoscaler(cluster.namespace).items
