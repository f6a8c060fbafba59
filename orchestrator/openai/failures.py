"""One table from Tandem's errors to HTTP, and OpenAI's error object: the only form in which this door fails."""

from __future__ import annotations

import math
from typing import NamedTuple

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


class _Row(NamedTuple):
    kind: type[BaseException]
    status: int
    type: str
    code: str
    again: bool = False
    """Whether the same request may succeed later."""


# Read downwards: the first class that fits.
_TABLE = (
    _Row(InvalidArgument, 400, "invalid_request_error", "invalid_value"),
    _Row(Overloaded, 429, "rate_limit_error", "overloaded", again=True),
    _Row(OutOfKV, 429, "rate_limit_error", "out_of_kv", again=True),
    _Row(Unavailable, 503, "service_unavailable_error", "unavailable", again=True),
    _Row(DeadlineExceeded, 504, "timeout_error", "deadline_exceeded"),
    _Row(Cancelled, CLIENT_CLOSED_REQUEST, "invalid_request_error", "cancelled"),
    _Row(NotFound, 404, "invalid_request_error", "not_found"),
    _Row(Stale, 409, "invalid_request_error", "stale"),
    _Row(DataLoss, 500, "server_error", "data_loss"),
    _Row(BaseException, 500, "server_error", "internal_error"),
)

_NAMES = {
    "method": "speculative.method",
    "json_schema": "response_format",
    "regex": "structured_outputs",
    "num_top_log_probs": "logprobs",
}
"""Fields that have another name here than where they are checked."""


class BadRequest(InvalidArgument):
    """A request refused for one parameter, by name."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value", status: int = 400) -> None:
        super().__init__(message, param or "")
        self.code = code
        self.status = status


class UnknownModel(NotFound):
    """Another model than the one served."""


def error_answer(error: BaseException) -> ErrorAnswer:
    """An error as OpenAI words it; without its text, which may hold anything, where it is not a `TandemError`."""
    row = _row(error)
    message = str(error) if isinstance(error, TandemError) else "an unexpected failure; the service's log has it"
    code, param = row.code, None
    if isinstance(error, InvalidArgument):
        param = _NAMES.get(error.field, error.field) or None
    if isinstance(error, BadRequest):
        code = error.code
    elif isinstance(error, UnknownModel):
        code, param = "model_not_found", "model"
    return refusal(message, row.type, code, param)


def refusal(message: str, type_: str, code: str, param: str | None = None) -> ErrorAnswer:
    """OpenAI's error object."""
    return ErrorAnswer(error=ErrorObject(message=message, type=type_, param=param, code=code))


def error_response(error: BaseException) -> JSONResponse:
    """The whole answer to a request that failed; ``Retry-After`` where the same request may succeed later."""
    row = _row(error)
    status = error.status if isinstance(error, BadRequest) else row.status
    seconds = math.ceil(retry_after_of(error) or _RETRY_AFTER_SECONDS)
    headers = {"Retry-After": str(seconds)} if row.again else None
    return JSONResponse(error_answer(error).model_dump(), status, headers)


def _row(error: BaseException) -> _Row:
    return next(row for row in _TABLE if isinstance(error, row.kind))
