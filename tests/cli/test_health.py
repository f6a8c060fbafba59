"""``tandem health``: what its exit code says of a service."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
import trustme
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner, Result

from tandem.cli.main import app
from tandem.engine.hosting import HostedModel
from tandem.errors import InvalidArgument, Unavailable
from tandem.rpc.server import Listen, serve
from tests.e2e.running import tandem
from tests.support.certificates import Certificates
from tests.support.model_services import TARGET, hosted, running, verify_replica, verify_service
from tests.support.redis_server import free_port
from verify_service.service import VerifyService
from verify_service.sessions import Limits


async def ask(*arguments: str) -> Result:
    """The command in this process, in a thread of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["health", *arguments])


async def test_a_service_that_serves_and_one_that_is_not_there() -> None:
    async with verify_replica() as replica:
        served = await ask(replica.address)
    assert (served.exit_code, served.output) == (0, f"{replica.address} serves\n")
    gone = await asyncio.to_thread(tandem, "health", replica.address)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith("error: ")
    assert replica.address in gone.stderr


async def test_a_service_that_is_starting() -> None:
    may_load, listening, stop = threading.Event(), asyncio.Event(), asyncio.Event()
    registry, port = CollectorRegistry(), free_port()

    def load() -> HostedModel:
        may_load.wait(60)
        return hosted(TARGET)

    class Bound(VerifyService):
        """Tells that its server listens: services are started after that."""

        async def start(self) -> None:
            listening.set()
            await super().start()

    service = Bound(load, "digest", Limits(), registry)
    task = asyncio.create_task(serve(service, Listen(port=port), registry, stop=stop))
    try:
        await asyncio.wait_for(listening.wait(), 30)
        starting = await ask(f"127.0.0.1:{port}", "--timeout", "10")
        assert (starting.exit_code, "does not serve" in starting.output) == (1, True)
    finally:
        may_load.set()
        stop.set()
        await task


async def test_a_service_that_asks_for_a_certificate(tmp_path: Path) -> None:
    ca = trustme.CA()
    own = Certificates(tmp_path / "own", ca)
    replicas = Certificates(tmp_path / "replicas", ca, ("replica.tandem",))
    shown = ("--tls-ca", str(own.ca), "--tls-cert", str(own.cert), "--tls-key", str(own.key))
    registry = CollectorRegistry()
    async with running(verify_service(registry), registry, replicas.files()) as replica:
        named = await ask(replica.address, *shown, "--tls-name", "replica.tandem")
        unnamed = await ask(replica.address, *shown)
        plain = await ask(replica.address)
    assert (named.exit_code, named.output) == (0, f"{replica.address} serves\n")
    assert isinstance(unnamed.exception, Unavailable)
    assert "--tls-name" in str(unnamed.exception)
    assert isinstance(plain.exception, Unavailable)
    assert "TLS" in str(plain.exception)


@pytest.mark.parametrize("flags", [("--tls-cert", "chain.pem"), ("--tls-ca", "public", "--tls-key", "key.pem")])
async def test_options_that_do_not_go_together(flags: tuple[str, ...]) -> None:
    refused = await ask("127.0.0.1:1", *flags)
    assert isinstance(refused.exception, InvalidArgument)
    assert "--tls-c" in str(refused.exception)
