"""The guard at the HTTP edge."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.access.guard import REFUSED, Guard
from orchestrator.access.principal import Principal, set_caller
from orchestrator.openai.failures import error_response
from orchestrator.openai.parsing import MAX_BODY_BYTES
from tandem.errors import TandemError, Unauthenticated


class GuardedApp:
    """An application behind the guard. Every path asks for a key, but those that are named as open."""

    def __init__(
        self, app: ASGIApp, guard: Guard, open_paths: Collection[str], operator_paths: Collection[str]
    ) -> None:
        self._app = app
        self._guard = guard
        self._open_paths = frozenset(open_paths)
        self._operator_paths = frozenset(operator_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sets the caller of the task that goes on to handle the request, or refuses it without a look at its body."""
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            given = [value for key, value in scope["headers"] if key == b"authorization"]
            try:
                principal = self._guard.admit(given[0].decode("latin-1") if len(given) == 1 else None)
                self._check_operator(principal, scope["path"])
            except TandemError as error:
                await _discard(receive)
                await error_response(error)(scope, receive, send)
                return
            set_caller(principal)
        await self._app(scope, receive, send)

    def _check_operator(self, principal: Principal, path: str) -> None:
        if path in self._operator_paths and not (principal.is_operator or self._guard.is_open):
            raise Unauthenticated(REFUSED)


async def _discard(receive: Receive) -> None:
    """Throws a body away, as far as one may be long: its sender is to see the answer, and no reset."""
    num_bytes, more = 0, True
    while more and num_bytes <= MAX_BODY_BYTES:
        message = await receive()
        num_bytes += len(message.get("body", b""))
        more = message.get("more_body", False)
