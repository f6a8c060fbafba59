"""One table from Tandem's errors to HTTP, and OpenAI's error object: the only form in which this door fails."""

from __future__ import annotations

import math

from starlette.responses import JSONResponse

from orchestrator.openai.answers import ErrorAnswer, ErrorObject
from tandem.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OutOfKV,
    Overloaded,
    Stale,
    TandemError,
    Unavailable,
)
from tandem.rpc.status import retry_after_of

CLIENT_CLOSED_REQUEST = 499
"""What proxies log for a request whose client has gone, or withdrew it."""

_RETRY_AFTER_SECONDS = 1.0

# The first class that fits: status, type, code, and whether the same request may succeed later.
_TABLE: tuple[tuple[type[TandemError], int, str, str, bool], ...] = (
    (InvalidArgument, 400, "invalid_request_error", "invalid_value", False),
    (Overloaded, 429, "rate_limit_error", "overloaded", True),
    (OutOfKV, 429, "rate_limit_error", "out_of_kv", True),
    (Unavailable, 503, "service_unavailable_error", "unavailable", True),
    (DeadlineExceeded, 504, "timeout_error", "deadline_exceeded", False),
    (Cancelled, CLIENT_CLOSED_REQUEST, "invalid_request_error", "cancelled", False),
    (NotFound, 404, "invalid_request_error", "not_found", False),
    (Stale, 409, "invalid_request_error", "stale", False),
    (DataLoss, 500, "server_error", "data_loss", False),
    (TandemError, 500, "server_error", "internal_error", False),
)


class BadRequest(InvalidArgument):
    """A request refused for one parameter, by name."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value", status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


class UnknownModel(NotFound):
    """Another model than the one served."""


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for anything that is not a `TandemError`."""
    if isinstance(error, BadRequest):
        return error.status
    return next((status for kind, status, *_ in _TABLE if isinstance(error, kind)), 500)


def error_answer(error: BaseException) -> ErrorAnswer:
    """An error as OpenAI words it; without its text, which may hold anything, where it is not a `TandemError`."""
    if isinstance(error, BadRequest):
        return refusal(str(error), "invalid_request_error", error.code, error.param)
    if isinstance(error, UnknownModel):
        return refusal(str(error), "invalid_request_error", "model_not_found", "model")
    for kind, _, type_, code, _ in _TABLE:
        if isinstance(error, kind):
            return refusal(str(error), type_, code)
    return refusal("an unexpected failure; the service's log has it", "server_error", "internal_error")


def refusal(message: str, type_: str, code: str, param: str | None = None) -> ErrorAnswer:
    """OpenAI's error object."""
    return ErrorAnswer(error=ErrorObject(message=message, type=type_, param=param, code=code))


def error_response(error: BaseException) -> JSONResponse:
    """The whole answer to a request that failed; ``Retry-After`` where the same request may succeed later."""
    headers = {}
    if any(again for kind, *_, again in _TABLE if isinstance(error, kind)):
        headers["Retry-After"] = str(math.ceil(retry_after_of(error) or _RETRY_AFTER_SECONDS))
    return JSONResponse(error_answer(error).model_dump(), status_of(error), headers)
