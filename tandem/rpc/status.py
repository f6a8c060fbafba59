"""One table between Tandem's errors and gRPC's status codes, read in both directions."""

from __future__ import annotations

import grpc

from tandem.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    InvariantBroken,
    NotFound,
    OutOfKV,
    Overloaded,
    RowFailed,
    Stale,
    TandemError,
    Unauthenticated,
    Unavailable,
    Unreached,
)
from tandem.v1 import types_pb2

RETRY_AFTER_KEY = "retry-after-seconds"
"""Trailing metadata that says when a refused request may come back."""

MAX_MESSAGE = 2000
"""Characters of an error's message that travel: it may quote what somebody sent."""

LIBRARY_FAILED = "Internal error from Core"
"""What the asyncio library says, as INTERNAL, of a call that broke with its connection while it was being sent."""

NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed")
"""How what the library says, as UNAVAILABLE, of a call begins for which it found no connection."""

# Read downwards for a code (the first class that fits), and by code for an error (the first row that has it).
_TABLE: tuple[tuple[type[TandemError], grpc.StatusCode], ...] = (
    (InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (OutOfKV, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Cancelled, grpc.StatusCode.CANCELLED),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (Stale, grpc.StatusCode.FAILED_PRECONDITION),
    (DataLoss, grpc.StatusCode.DATA_LOSS),
    (RowFailed, grpc.StatusCode.INTERNAL),
    (InvariantBroken, grpc.StatusCode.INTERNAL),
    (TandemError, grpc.StatusCode.INTERNAL),
)
_CODE_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def code_of(error: BaseException) -> grpc.StatusCode:
    """The status code of an error; INTERNAL for anything that is not a `TandemError`."""
    for kind, code in _TABLE:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.INTERNAL


def error_from_code(code: grpc.StatusCode, message: str, retry_after_seconds: float = 0.0) -> TandemError:
    """The error that a status code stands for. UNIMPLEMENTED is a peer of another contract: `InvalidArgument`."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Overloaded(message, retry_after_seconds) if retry_after_seconds else OutOfKV(message)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return InvalidArgument(f"{message} (the peer does not serve this call; is it a Tandem service?)")
    for kind, known in _TABLE:
        if known is code:
            return kind(message)
    return Unavailable(f"{code.name}: {message}")


def error_of(error: grpc.RpcError) -> TandemError:
    """The error behind a failed call, synchronous or asyncio."""
    # grpc declares code() and details() on the concrete calls only.
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    details = (error.details() if hasattr(error, "details") else None) or str(error)
    if details == LIBRARY_FAILED:
        return Unavailable("the connection was lost")
    if code is grpc.StatusCode.UNAVAILABLE and details.startswith(NEVER_SENT):
        return Unreached(details)
    return error_from_code(code, details, _retry_after(error))


def _retry_after(error: grpc.RpcError) -> float:
    trailing = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    for key, value in trailing or ():
        if key == RETRY_AFTER_KEY:
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 0.0


def retry_after_of(error: BaseException) -> float:
    """When a request that failed so may come back, in seconds; 0 where coming back does not help or nobody knows."""
    return error.retry_after_seconds if isinstance(error, Overloaded) else 0.0


def trailing_metadata(error: BaseException) -> tuple[tuple[str, str], ...]:
    """The trailing metadata that travels with an error's status."""
    seconds = retry_after_of(error)
    return ((RETRY_AFTER_KEY, f"{seconds:g}"),) if seconds else ()


def refusal_of(session_id: str, error: BaseException, highest_epoch: int = 0) -> types_pb2.Refusal:
    """The message that refuses one session's work and leaves the stream alone.

    An error that is not a `TandemError` is reported without its text, which may hold anything.
    """
    message = str(error) if isinstance(error, TandemError) else "an unexpected failure; the service's log has it"
    return types_pb2.Refusal(
        session_id=session_id,
        code=code_of(error).value[0],
        message=message[:MAX_MESSAGE],
        highest_epoch=highest_epoch,
        retry_after_seconds=retry_after_of(error),
    )


def error_of_refusal(refusal: types_pb2.Refusal) -> TandemError:
    """The error that a refusal stands for."""
    code = _CODE_BY_NUMBER.get(refusal.code, grpc.StatusCode.UNKNOWN)
    return error_from_code(code, refusal.message[:MAX_MESSAGE], refusal.retry_after_seconds)
