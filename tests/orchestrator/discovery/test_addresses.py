"""How addresses of replicas may be given, and what is said of others."""

from __future__ import annotations

import pytest

from orchestrator.discovery.addresses import source_of
from orchestrator.settings import OrchestratorSettings
from tandem.errors import InvalidArgument
from tests.orchestrator.discovery.worlds import followed

REDIS = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1:1",),
        ("127.0.0.1:1", "[::1]:2", "replica:3"),
        ("dns:///replicas.models.svc:7070",),
        ("redis:///verify",),
        ("127.0.0.1:1", "dns:///replicas:7070", "redis:///verify"),
        (),
    ],
)
def test_a_source_goes_by_its_addresses(addresses: tuple[str, ...]) -> None:
    assert source_of(addresses, REDIS).name == ",".join(addresses)


@pytest.mark.parametrize(
    "address",
    [
        "replica",
        "replica:0",
        "dns:///replica",
        "dns://server/replica:1",
        "kubernetes:///verify",
        "kubernetes:///a/b/verify:grpc",
        "kubernetes:///Verify:grpc",
        "redis:///orchestrator",
        "redis://127.0.0.1:6379/verify",
        "etcd:///verify:1",
    ],
)
def test_other_forms_are_refused_when_settings_are_read(address: str) -> None:
    with pytest.raises(InvalidArgument, match=r"--verify|address is"):
        OrchestratorSettings.load(["--verify", address], {})


def test_all_forms_are_named() -> None:
    with pytest.raises(InvalidArgument, match=r"host:port, dns:///host:port, kubernetes:///.* or redis:///ROLE"):
        OrchestratorSettings.load(["--verify", "consul:///verify"], {})


async def test_a_name_is_resolved_by_the_system() -> None:
    async with followed(source_of(["dns:///localhost:7070"], REDIS)) as told:
        await told.until_last(lambda last: last is not None and last.get("127.0.0.1:7070") == "serving")
