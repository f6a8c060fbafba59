"""The servers of one process: one to the outside, and nobody else's calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tandem.errors import InvalidArgument
from tandem.rpc.listeners import NUM_SERVERS, Listeners


async def _held(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
    await asyncio.sleep(60)
    return b""


def _add_held(server: grpc.aio.Server) -> None:
    handlers = {"Held": grpc.unary_unary_rpc_method_handler(_held)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", handlers),))


@asynccontextmanager
async def _listening() -> AsyncIterator[tuple[Listeners, str]]:
    listeners = Listeners([])
    healthy = health.aio.HealthServicer()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    listeners.register(lambda server: health_pb2_grpc.add_HealthServicer_to_server(healthy, server))
    listeners.register(_add_held)
    address = listeners.bind("127.0.0.1", 0, None)
    await listeners.start()
    try:
        yield listeners, address
    finally:
        await listeners.stop(None)


def _num_listening(port: int) -> int:
    """Sockets of this machine that listen on a port."""
    tables = [path.read_text() for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


async def test_every_connection_finds_all_services() -> None:
    """Whichever server a connection falls to: 32 fall to the same with a chance of 1e-18."""
    async with _listening() as (_, address):
        for _ in range(32):
            async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_all_listen_and_all_stop() -> None:
    async with _listening() as (listeners, address):
        port = int(address.rpartition(":")[2])
        assert _num_listening(port) == NUM_SERVERS
        await listeners.stop(None)
        assert _num_listening(port) == 0


async def test_stopping_cuts_off_what_lasts_longer() -> None:
    async with _listening() as (listeners, address), grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/test.Service/Held")(b"")
        await channel.channel_ready()
        stopping = asyncio.create_task(listeners.stop(0.2))
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await asyncio.wait_for(call, 30)
        assert cut.value.code() is not grpc.StatusCode.UNIMPLEMENTED
        await stopping


async def test_the_port_of_somebody_else_is_not_shared() -> None:
    async with _listening() as (_, address):
        port = int(address.rpartition(":")[2])
        with pytest.raises(InvalidArgument, match="taken"):
            await asyncio.to_thread(_bind_another, port)
        assert _num_listening(port) == NUM_SERVERS


def _bind_another(port: int) -> None:
    async def bind() -> None:
        Listeners([]).bind("127.0.0.1", port, None)

    asyncio.run(bind())
