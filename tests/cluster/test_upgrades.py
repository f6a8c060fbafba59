"""Releases come, change and go under load, and nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kubernetes import client

from tests.cluster.conftest import Cluster
from tests.cluster.service_proxy import ServiceProxy
from tests.faults.load import Load, asks
from tests.faults.stage import until

WIDTH = 6
"""Sessions that are generated at once."""


@pytest.mark.timeout(300)
async def test_installed_upgraded_rolled_back_and_uninstalled(cluster: Cluster, door: ServiceProxy) -> None:
    await cluster.helm.install()
    first = {pod.name for pod in cluster.kubelet.pods.values()}
    async with loaded(door) as load:
        await cluster.helm.upgrade(podAnnotations={"revision": "two"})
        await replaced(cluster, first)
        second = {pod.name for pod in running(cluster)}
        await cluster.helm.rollback(1)
        await replaced(cluster, second)
        num_sessions = load.tally.num_sessions
        await until(lambda: load.tally.num_sessions > num_sessions + 2 * WIDTH, "sessions go on after the rollback")
    assert load.tally.failed == []
    assert load.tally.wrong == []
    assert [status for _, status in await cluster.helm.history()] == ["superseded", "superseded", "deployed"]

    await cluster.helm.uninstall()
    await until(lambda: not running(cluster), "all pods have stopped")
    left = await asyncio.to_thread(left_behind, cluster)
    assert left == []
    assert cluster.kubelet.ended_badly == []


@asynccontextmanager
async def loaded(door: ServiceProxy) -> AsyncIterator[Load]:
    """Sessions of every method through the Service, each held against its undisturbed run."""
    load = Load([door.address], asks(range(4)))
    try:
        await load.learn()
        async with load.running(WIDTH):
            yield load
    finally:
        await load.client.close()


def running(cluster: Cluster) -> list[str]:
    return [pod for role in ("orchestrator", "verify", "draft") for pod in cluster.kubelet.running(role)]


async def replaced(cluster: Cluster, older: set[str]) -> None:
    """Waits until none of the older pods is left."""
    await until(
        lambda: not older & {pod.name for pod in cluster.kubelet.pods.values() if pod.task and not pod.task.done()},
        "the older pods have stopped",
    )


def left_behind(cluster: Cluster) -> list[str]:
    """Objects of the release that uninstalling left."""
    label = {"label_selector": "app.kubernetes.io/instance=tandem"}
    core, apps, rbac = (
        client.CoreV1Api(cluster.api),
        client.AppsV1Api(cluster.api),
        client.RbacAuthorizationV1Api(cluster.api),
    )
    lists = [
        apps.list_namespaced_deployment,
        core.list_namespaced_service,
        core.list_namespaced_service_account,
        core.list_namespaced_config_map,
        core.list_namespaced_persistent_volume_claim,
        rbac.list_namespaced_role,
        rbac.list_namespaced_role_binding,
        client.NetworkingV1Api(cluster.api).list_namespaced_network_policy,
        client.PolicyV1Api(cluster.api).list_namespaced_pod_disruption_budget,
    ]
    return [one.metadata.name for listed in lists for one in listed(cluster.namespace, **label).items]
