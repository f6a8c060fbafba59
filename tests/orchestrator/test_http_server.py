"""The HTTP server's connections."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orchestrator.http import HttpServer, application
from tests.support.http import ask


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

    server = HttpServer(application(CollectorRegistry(), ready, [Route("/look", look)]), host, 0)
    server.start()
    try:
        assert (await asyncio.wait_for(ask(f"{server.url}/look"), 10)).body == b"seen"
        assert found == [1]
    finally:
        await server.close()
