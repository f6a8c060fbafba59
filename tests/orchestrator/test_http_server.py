"""The HTTP server's connections: how soon they answer, and how many there may be."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tandem.rpc.http import HttpServer, application
from tests.support.http import ask


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_small_writes_are_sent_at_once(host: str) -> None:
    found: list[int] = []

    async def ready() -> str:
        return ""

    async def look(request: Request) -> Response:
        (connection,) = cast(set[Any], server._server.server_state.connections)
        accepted = connection.transport.get_extra_info("socket")
        found.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return PlainTextResponse("seen")

    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    server = HttpServer(application(CollectorRegistry(), lambda: True, ready, [Route("/look", look)]), host, 0)
    server.start()
    try:
        assert (await asyncio.wait_for(ask(f"{server.url}/look"), 10)).body == b"seen"
        assert found == [1]
    finally:
        await server.close()


def test_as_many_connections_are_allowed_as_the_system_lets_this_user_have() -> None:
    code = (
        "import resource\nfrom orchestrator.open_files import allow_many\n"
        "most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))\n"
        "allow_many()\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
