"""One interceptor that turns errors into status codes, for every call of a server."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from tandem.errors import InvalidArgument, TandemError
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
        if handler.request_deserializer is not None:
            handler = handler._replace(request_deserializer=_decoding(handler.request_deserializer))
        decoded = _all_decoded if handler.request_streaming else _decoded
        if handler.response_streaming:
            name = "stream_stream" if handler.request_streaming else "unary_stream"
            return handler._replace(**{name: _wrap_stream(getattr(handler, name), method, decoded)})
        name = "stream_unary" if handler.request_streaming else "unary_unary"
        return handler._replace(**{name: _wrap_unary(getattr(handler, name), method, decoded)})


# What cannot be decoded is answered by the library with UNKNOWN and a traceback in the log, a caller's mistake as a
# server's failure. So an error takes the message's place, and is raised where errors are dealt with.


def _decoding(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode(content: bytes) -> Any:
        try:
            return deserialize(content)
        except DecodeError as error:
            return InvalidArgument(f"the message cannot be decoded: {error}")

    return decode


async def _all_decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _decoded(request)


def _decoded(request: Any) -> Any:
    if isinstance(request, TandemError):
        raise request
    return request


def _wrap_unary(behaviour: Any, method: str, decoded: Callable[[Any], Any]) -> Any:
    async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await behaviour(decoded(request), context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(error, context, method)

    return unary


def _wrap_stream(behaviour: Any, method: str, decoded: Callable[[Any], Any]) -> Any:
    if not inspect.isasyncgenfunction(behaviour):
        return _wrap_unary(behaviour, method, decoded)

    async def stream(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        try:
            async for response in behaviour(decoded(request), context):
                yield response
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await _abort(error, context, method)

    return stream
