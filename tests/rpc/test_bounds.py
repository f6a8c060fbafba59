"""What every server of the project bounds, whatever it serves."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from tandem.rpc.channel import MAX_MESSAGE_BYTES
from tandem.v1 import types_pb2, verify_pb2, verify_pb2_grpc
from tests.support.model_services import Running, draft_replica, verify_replica

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
SETTINGS, MAX_CONCURRENT_STREAMS = 4, 3


async def settings_of(address: str) -> dict[int, int]:
    """What an HTTP/2 server says first."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(PREFACE)
    head = await reader.readexactly(9)
    body = await reader.readexactly(int.from_bytes(head[:3]))
    writer.close()
    assert head[3] == SETTINGS
    return dict(struct.unpack_from(">HI", body, at) for at in range(0, len(body), 6))


async def test_a_connection_has_so_many_streams_at_once() -> None:
    async with verify_replica() as verify, draft_replica() as draft:
        for replica in (verify, draft):
            assert (await settings_of(replica.address))[MAX_CONCURRENT_STREAMS] == 4096


async def describe(replica: Running, channel: grpc.aio.Channel) -> str:
    stub: Any = verify_pb2_grpc.VerifyServiceStub(channel)
    return str((await stub.Describe(types_pb2.DescribeRequest())).role)


async def test_a_message_that_is_too_large_ends_its_call_only() -> None:
    options = [("grpc.max_send_message_length", -1)]
    async with verify_replica() as replica, grpc.aio.insecure_channel(replica.address, options=options) as channel:
        call = verify_pb2_grpc.VerifyServiceStub(channel).Judge()
        request = verify_pb2.JudgeRequest()
        request.open.session_id = "x" * (MAX_MESSAGE_BYTES + 1)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(request)
            await call.read()
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await describe(replica, channel) == "verify"
