"""Service accounts may do what their pods need, and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from kubernetes import client

from tests.cluster.bodies import token_of
from tests.cluster.conftest import Cluster

ANNOTATING = [("", "pods", verb) for verb in ("get", "list", "watch", "patch")]
NEEDED = [("discovery.k8s.io", "endpointslices", verb) for verb in ("get", "list", "watch")]
DENIED = [
    *(("discovery.k8s.io", "endpointslices", verb) for verb in ("create", "update", "patch", "delete")),
    *(("", "pods", verb) for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *(("", resource, verb) for resource in ("secrets", "configmaps", "services") for verb in ("get", "list", "create")),
    ("", "pods/exec", "create"),
    ("", "pods/log", "get"),
    ("", "serviceaccounts/token", "create"),
    ("apps", "deployments", "get"),
    ("apps", "deployments", "patch"),
    ("rbac.authorization.k8s.io", "roles", "create"),
    ("rbac.authorization.k8s.io", "rolebindings", "create"),
]


async def test_the_orchestrators_account_may_watch_its_own_endpoints_and_nobody_may_do_anything_else(
    cluster: Cluster,
) -> None:
    await cluster.helm.apply("install", annotator={"enabled": True})
    api = as_account(cluster, "tandem-orchestrator")
    allowed = await asyncio.to_thread(may, api, cluster.namespace, [*NEEDED, *DENIED])
    assert allowed == NEEDED
    assert await asyncio.to_thread(may, api, "default", NEEDED) == []

    slices = client.DiscoveryV1Api(api)
    answer = await asyncio.to_thread(slices.list_namespaced_endpoint_slice, cluster.namespace, _preload_content=False)
    assert answer.status == 200
    with pytest.raises(client.ApiException) as refused:
        await asyncio.to_thread(client.CoreV1Api(api).list_namespaced_secret, cluster.namespace)
    assert refused.value.status == 403

    annotator = as_account(cluster, "tandem-annotator")
    assert sorted(await asyncio.to_thread(may, annotator, cluster.namespace, [*NEEDED, *DENIED])) == sorted(ANNOTATING)
    assert await asyncio.to_thread(may, annotator, "default", ANNOTATING) == []

    apps = client.AppsV1Api(cluster.api)
    for account in ("tandem-verify", "tandem-draft"):  # may do nothing, and do not even have their token
        api = as_account(cluster, account)
        assert await asyncio.to_thread(may, api, cluster.namespace, [*NEEDED, *DENIED]) == []
        deployment = await asyncio.to_thread(apps.read_namespaced_deployment, account, cluster.namespace)
        assert deployment.spec.template.spec.automount_service_account_token is False


def as_account(cluster: Cluster, account: str) -> client.ApiClient:
    """A client with a service account's own token."""
    configuration = client.Configuration()
    configuration.host = cluster.api.configuration.host
    configuration.verify_ssl = False
    configuration.api_key["authorization"] = f"Bearer {token_of(cluster.api, cluster.namespace, account)}"
    return client.ApiClient(configuration)


def may(api: client.ApiClient, namespace: str, wanted: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Which of (group, resource, verb) the API server says whoever asks may do."""
    reviews = client.AuthorizationV1Api(api)
    found = []
    for group, resource, verb in wanted:
        resource_name, _, subresource = resource.partition("/")
        attributes = {
            "group": group,
            "resource": resource_name,
            "subresource": subresource,
            "verb": verb,
            "namespace": namespace,
        }
        answer = reviews.create_self_subject_access_review({"spec": {"resourceAttributes": attributes}})
        if answer.status.allowed:
            found.append((group, resource, verb))
    return found
