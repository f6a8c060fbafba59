"""The HTTP server, in the same event loop: metrics and probes, and whatever doors add to the same application."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, ExceptionHandler

from tandem.errors import InvalidArgument, InvariantBroken
from tandem.pem_files import PemFiles
from tandem.rpc.https import server_context

BACKLOG = 2048
"""Connections that may wait to be accepted: a thousand clients that come at once are not to be told to try again."""
KEEP_ALIVE_SECONDS = 75
"""For the next request of a connection. Clients and proxies are to end it first, or a request could meet its end."""


def application(
    registry: CollectorRegistry,
    is_alive: Callable[[], bool],
    why_not_ready: Callable[[], Awaitable[str]],
    routes: Sequence[BaseRoute] = (),
    no_such_route: ExceptionHandler | None = None,
) -> Starlette:
    """The application.

    ``is_alive`` and ``why_not_ready`` are a `tandem.rpc.server.Service`'s; ``routes`` are further doors;
    ``no_such_route`` answers what is on none of them.
    """

    def progresses() -> bool:
        try:
            return is_alive()
        except InvariantBroken:
            return False

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def healthz(request: Request) -> Response:
        alive = progresses()
        return PlainTextResponse("alive\n" if alive else "stuck\n", status_code=200 if alive else 503)

    async def readyz(request: Request) -> Response:
        reason = await why_not_ready() if progresses() else "stuck"
        return PlainTextResponse(f"{reason or 'ready'}\n", status_code=503 if reason else 200)

    own = [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
    handlers = {HTTPException: no_such_route} if no_such_route is not None else {}
    return Starlette(routes=[*own, *routes], exception_handlers=handlers)


class HttpServer:
    """Serves an application from `start` to `close`, as a task of this event loop."""

    def __init__(
        self, app: ASGIApp, host: str, port: int, tls: PemFiles | None = None, *, flag: str = "--http-port"
    ) -> None:
        """Binds at once; port 0 picks a free one. ``tls``: the certificate shown to clients; None is plaintext.

        ``flag``: what chooses the port, for the error.

        Raises:
            InvalidArgument: the port is taken, or the interface is not this machine's.
        """
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            bound = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise InvalidArgument(
                f"cannot listen on {host}:{port} for HTTP: {os.strerror(error.errno or 0)}; choose another {flag}, "
                "or 0 for a free one"
            ) from None
        # asyncio turns Nagle's algorithm off only for sockets that say they are TCP, and accepted ones are as this one.
        # With it, an answer's second write waits 40 ms for the client to acknowledge the first.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=bound.detach())
        reachable = socket.gethostname() if host in ("0.0.0.0", "::") else host
        shown = f"[{reachable}]" if ":" in reachable else reachable
        self.url = f"{'https' if tls else 'http'}://{shown}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
        )
        if tls is not None:
            config.ssl_context_factory = lambda config, default: server_context(tls)
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts serving."""
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="http")

    async def close(self) -> None:
        """Ends within about a second."""
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        self._socket.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's: `tandem.rpc.server` has them."""
        yield
