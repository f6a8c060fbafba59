"""EndpointSlices as they come: several, of two families, without endpoints; and watches that end in every way."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.discovery import listing
from orchestrator.discovery.kubernetes import Kubernetes
from tandem.errors import InvalidArgument
from tests.orchestrator.discovery.worlds import Told, followed
from tests.support.kube_api import SLICES, KubeApi, endpoint, running_kube_api
from tests.support.waiting import until

A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:
    monkeypatch.setattr(listing, "LAST_BACKOFF_SECONDS", 0.2)
    with running_kube_api() as served:
        monkeypatch.setenv("KUBECONFIG", str(served.kubeconfig(tmp_path)))
        yield served


@pytest.fixture
async def told(api: KubeApi) -> AsyncIterator[Told]:
    """What is told of a service with one pod."""
    api.put_slice("verify", "verify-1", [endpoint(A)])
    async with followed(Kubernetes("", "verify", "grpc")) as heard:
        await until(lambda: heard.last is not None and api.num_watches == 1)
        yield heard


def lists(api: KubeApi) -> int:
    return sum(1 for request in api.requests if "watch" not in request)


async def test_only_the_services_own_slices_count_all_of_them(api: KubeApi, told: Told) -> None:
    api.put_slice("draft", "draft-1", [endpoint(B)])
    api.put_slice("verify", "verify-2", [endpoint(C)])
    await told.until(_192_0_2_1="serving", _192_0_2_3="serving")
    api.delete(SLICES, "verify-1")
    await told.until(_192_0_2_3="serving")
    assert {request["labelSelector"] for request in api.requests} == {"kubernetes.io/service-name=verify"}
    assert lists(api) == 1


async def test_a_service_without_pods_has_none(api: KubeApi, told: Told) -> None:
    api.put_slice("verify", "verify-1", None, addressType="IPv4", ports=None)
    await told.until()


async def test_a_pod_of_two_families_is_one_replica(api: KubeApi, told: Told) -> None:
    api.put_slice("verify", "verify-2", [endpoint("2001:db8::1")], addressType="IPv6")
    api.put_slice("verify", "verify-3", [endpoint(B)])
    await told.until(_192_0_2_1="serving", _192_0_2_2="serving")
    api.delete(SLICES, "verify-1")
    api.delete(SLICES, "verify-3")
    await told.until_last(lambda last: last == {"[2001:db8::1]:7070": "serving"})


async def test_a_pod_that_moves_to_another_slice_while_it_ends_is_on_its_way_out(api: KubeApi, told: Told) -> None:
    api.put_slice("verify", "verify-2", [endpoint(A, terminating=True)])
    await told.until(_192_0_2_1="terminating")


async def test_ports_by_name_and_by_number(api: KubeApi) -> None:
    ports = [{"name": "metrics", "port": 9090}, {"name": "grpc", "port": 7171}]
    api.put_slice("verify", "verify-1", [endpoint(A)], ports=ports)
    for port, address in (("grpc", f"{A}:7171"), ("7272", f"{A}:7272")):
        async with followed(Kubernetes("models", "verify", port)) as told:
            await told.until_last(lambda last, address=address: last == {address: "serving"})  # type: ignore[misc]
    source = Kubernetes("", "verify", "rpc")
    async with followed(source) as told:
        await told.until()
        assert source.trouble == "the service has no port rpc, but grpc, metrics"


async def test_a_watch_that_ends_goes_on_where_it_was(api: KubeApi, told: Told) -> None:
    bookmark = api.bookmark()
    await until(lambda: api.last_sent == bookmark)
    api.drop_watches()
    await until(lambda: len(api.requests) == 3)
    assert int(api.requests[-1]["resourceVersion"]) == bookmark
    api.put_slice("verify", "verify-1", [endpoint(A), endpoint(B)])
    await told.until(_192_0_2_1="serving", _192_0_2_2="serving")
    assert lists(api) == 1


async def test_what_changed_while_a_watch_was_forgotten_is_listed_anew(api: KubeApi, told: Told) -> None:
    api.stop()  # so that nobody sees what happens meanwhile
    api.put_slice("verify", "verify-1", [endpoint(B)])
    api.compact()
    api.start()
    await told.until(_192_0_2_2="serving")
    assert lists(api) == 2


async def test_a_watch_that_is_told_that_its_place_is_forgotten_lists_anew(api: KubeApi, told: Told) -> None:
    api.fail_watches()
    await until(lambda: lists(api) == 2 and api.num_watches == 1)
    api.put_slice("verify", "verify-1", [endpoint(B)])
    await told.until(_192_0_2_2="serving")


async def test_a_lack_of_rights_is_named(api: KubeApi) -> None:
    api.refuses = 403
    source = Kubernetes("", "verify", "grpc")
    async with followed(source) as told:
        await until(lambda: "403" in source.trouble)
        assert "may this service account list and watch endpointslices" in source.trouble
        api.put_slice("verify", "verify-1", [endpoint(A)])
        api.refuses = None
        await told.until(_192_0_2_1="serving")
        assert source.trouble == ""


async def test_nothing_is_told_once_nobody_follows(api: KubeApi) -> None:
    api.put_slice("verify", "verify-1", [endpoint(A)])
    source = Kubernetes("", "verify", "grpc")
    async with followed(source) as told:
        await told.until(_192_0_2_1="serving")
    api.put_slice("verify", "verify-1", [endpoint(B)])
    await until(lambda: not any(thread.name.startswith("watch of") for thread in threading.enumerate()))
    assert told.all == [{f"{A}:7070": "serving"}]


def test_without_a_cluster_it_says_what_it_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InvalidArgument, match=r"neither a pod's service account .* nor a kubeconfig"):
        Kubernetes("", "verify", "grpc")
