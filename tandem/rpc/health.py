"""The standard gRPC health check, as its client asks it."""

from __future__ import annotations

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tandem.errors import Unavailable
from tandem.pem_files import PemFiles
from tandem.rpc.channel import open_channel
from tandem.rpc.status import error_of
from tandem.rpc.tls import hint

HEALTH_SECONDS = 2.0


async def serves(
    address: str, service: str = "", tls: PemFiles | None = None, timeout_seconds: float = HEALTH_SECONDS
) -> bool:
    """Whether the server at ``address`` says that a service of its serves; the empty name is the whole server.

    Raises:
        NotFound: it knows no such service.
        Unavailable: it does not answer in time, or is no such server; or another error that it answered with.
    """
    async with open_channel(address, tls) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            found = error_of(error)
            more = hint(str(found), tls)
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Unavailable(f"{address} did not answer within {timeout_seconds:g} s") from None
            raise (Unavailable(f"{found}{more}") if more else found) from None
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
