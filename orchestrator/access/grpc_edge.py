"""The guard and the admission at the gRPC edge."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from orchestrator.access.guard import Guard
from orchestrator.access.principal import set_caller
from orchestrator.admission import Admission
from tandem.errors import TandemError
from tandem.rpc.status import code_of, trailing_metadata

_BEGINNING = ("Generate", "Resume", "Score")


class EdgeInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets calls of one service in, or refuses them before a byte of their messages is read.

    By who asks; and, where a call begins work, by how much is under way: whoever asks again and again while all is
    full costs the least that a call can cost. Other services of the server are open: health and reflection, which say
    nothing of anybody's texts.
    """

    def __init__(self, guard: Guard, admission: Admission, service: str) -> None:
        """``service``: its full name."""
        self._guard = guard
        self._admission = admission
        self._prefix = f"/{service}/"
        self._beginning = {self._prefix + method for method in _BEGINNING}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Sets the caller of the task that goes on to handle the call."""
        method = handler_call_details.method
        if method.startswith(self._prefix):
            given = [value for key, value in handler_call_details.invocation_metadata if key == "authorization"]
            try:
                set_caller(self._guard.admit(given[0] if len(given) == 1 else None))
                if method in self._beginning:
                    self._admission.check()
            except TandemError as error:
                return _refusing(error)
        return await continuation(handler_call_details)


def _refusing(error: TandemError) -> Any:
    async def refuse(requests: Any, context: grpc.aio.ServicerContext) -> None:
        await context.abort(code_of(error), str(error), trailing_metadata(error))

    # As a stream whatever the method: a handler of streams is called before anything has been read.
    return grpc.stream_stream_rpc_method_handler(refuse)
