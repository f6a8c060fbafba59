"""What the two clients have in common beside waiting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from tandem.client.reader import Request
from tandem.errors import TandemError
from tandem.rpc.status import error_of
from tandem.v1 import generation_pb2 as pb

UNARY_TIMEOUT_SECONDS = 10.0


def open_stream(stub: Any, request: Request, timeout: float | None, metadata: Sequence[tuple[str, str]] = ()) -> Any:
    """Starts the streaming call that serves ``request``, with a synchronous stub or an asyncio one."""
    method = stub.Resume if isinstance(request, pb.ResumeRequest) else stub.Generate
    return method(request, timeout=timeout, metadata=metadata)


def resume_request(session_id: str, position: int, digest: bytes, token_ids: Sequence[int]) -> pb.ResumeRequest:
    """Asks for what follows ``position``."""
    return pb.ResumeRequest(session_id=session_id, position=position, digest=digest, token_ids=token_ids)


def as_tandem(error: grpc.RpcError | TandemError) -> TandemError:
    """The error that a failed attempt stands for."""
    return error if isinstance(error, TandemError) else error_of(error)
