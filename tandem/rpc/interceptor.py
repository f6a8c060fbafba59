"""One interceptor that turns errors into status codes, for every call of a server."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from tandem.errors import TandemError
from tandem.rpc.status import MAX_MESSAGE, code_of, trailing_metadata
from tandem.telemetry import logger

_log = logger("tandem.rpc")


async def _abort(error: Exception, context: grpc.aio.ServicerContext, method: str) -> NoReturn:
    if isinstance(error, TandemError):
        await context.abort(code_of(error), str(error)[:MAX_MESSAGE], trailing_metadata(error))
    _log.error("call failed unexpectedly", method=method, exc_info=error)
    await context.abort(code_of(error), "an unexpected failure; the service's log has it")
    raise AssertionError("abort() raises")


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """A `TandemError` becomes its status code; anything else INTERNAL, logged, its details kept from the caller."""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Wraps the call's handler; unknown methods stay gRPC's."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        if handler.response_streaming:
            name = "stream_stream" if handler.request_streaming else "unary_stream"
            return handler._replace(**{name: _wrap_stream(getattr(handler, name), method)})
        name = "stream_unary" if handler.request_streaming else "unary_unary"
        return handler._replace(**{name: _wrap_unary(getattr(handler, name), method)})


def _wrap_unary(behaviour: Any, method: str) -> Any:
    async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await behaviour(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(error, context, method)

    return unary


def _wrap_stream(behaviour: Any, method: str) -> Any:
    if not inspect.isasyncgenfunction(behaviour):
        return _wrap_unary(behaviour, method)

    async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        try:
            async for response in behaviour(request, context):
                yield response
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(error, context, method)

    return stream
