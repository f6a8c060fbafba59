"""The life of a service process: bind, load, serve, drain, stop.

The port answers before the model is loaded: Describe and health tell *starting* apart from *dead*. On SIGTERM or SIGINT
health turns to NOT_SERVING, the service drains, the server stops; in all under five seconds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from tandem.errors import InvariantBroken, TandemError
from tandem.pem_files import PemFiles
from tandem.registration import Registration
from tandem.rpc.http import HttpServer, application
from tandem.rpc.interceptor import ErrorInterceptor
from tandem.rpc.listeners import Listeners
from tandem.telemetry import logger

DRAIN_SECONDS = 3.0
"""How long a service usually may take to hand its work over."""
STOP_SECONDS = 0.5
"""How long calls may take to end after that."""
HEALTH_SECONDS = 0.5
"""How often liveness is looked at."""


class Service(Protocol):
    """What a role gives to be served."""

    @property
    def role(self) -> str:
        """draft, verify or orchestrator."""

    @property
    def grpc_name(self) -> str:
        """Full name of its gRPC service, as health and reflection know it."""

    @property
    def drain_seconds(self) -> float:
        """How long `drain` may take; it is cancelled then."""

    @property
    def interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        """What its calls pass first, beside what all services have."""

    def register(self, server: grpc.aio.Server) -> None:
        """Adds its servicer. Called before `start`; Describe is answered from here on."""

    async def start(self) -> None:
        """Gets ready to serve (loads a model, meets its peers). A `TandemError` ends the process with its message."""

    def ready_fields(self) -> Mapping[str, str]:
        """Further fields of the ready file, such as ``http``. Called after `start`."""

    def is_alive(self) -> bool:
        """Liveness, by its own progress: cheap, and never dependent on a peer or a store.

        Raises:
            InvariantBroken: it will never make progress again; the process ends, so that it is started anew.
        """

    async def why_not_ready(self) -> str:
        """What it lacks to take work now, its own lifecycle or a peer; empty where it lacks nothing."""

    async def drain(self) -> None:
        """Takes nothing new, hands its work over, ends its streams. Cancelled after `drain_seconds`."""

    async def close(self) -> None:
        """Frees what `start` took; the server no longer runs. Called once, also after a failed start."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a service listens, and where it says so. Port 0 picks a free one."""

    host: str = "127.0.0.1"
    port: int = 0
    metrics_port: int = 0
    """Of /metrics, /healthz and /readyz, over plain HTTP, from before the service starts until it has stopped."""
    ready_file: Path | None = None
    tls: PemFiles | None = None
    """The server's certificate, and of whom it asks one; None is plaintext."""
    registration: Registration | None = None
    """By which others find it, while it serves."""


async def serve(
    service: Service,
    listen: Listen,
    registry: CollectorRegistry,
    *,
    stop: asyncio.Event | None = None,
    on_ready: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Runs a service until SIGTERM, SIGINT or ``stop``, then drains it.

    ``on_ready`` is awaited with the bound address once it serves.

    Raises:
        InvalidArgument: a port is taken, or the service refused to start for what it was given.
        TandemError: the service could not start.
    """
    log = logger("tandem.rpc")
    stopping = stop or asyncio.Event()
    listeners = Listeners([*service.interceptors, ErrorInterceptor()])
    healthy = health.aio.HealthServicer()
    names = ("", service.grpc_name)
    for name in names:
        await healthy.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    listeners.register(lambda server: health_pb2_grpc.add_HealthServicer_to_server(healthy, server))
    listeners.register(service.register)
    reflected = (service.grpc_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
    listeners.register(lambda server: reflection.enable_server_reflection(reflected, server))
    address = listeners.bind(listen.host, listen.port, listen.tls)
    app = application(registry, service.is_alive, service.why_not_ready)
    metrics = HttpServer(app, listen.host, listen.metrics_port, flag="--metrics-port")
    restore = _on_signals(stopping.set)
    try:
        metrics.start()
        await listeners.start()
        if await _start_unless_stopped(service, stopping):
            # What is there by now stays: modules, tokenizer, model. Looked through at each full collection of garbage,
            # it would hold up all calls for tens of milliseconds.
            gc.collect()
            gc.freeze()
            ready = {"role": service.role, "pid": os.getpid(), "address": address, "metrics": f"{metrics.url}/metrics"}
            ready |= dict(service.ready_fields())
            for name in names:
                await healthy.set(name, health_pb2.HealthCheckResponse.SERVING)
            if listen.ready_file is not None:
                _write_ready(listen.ready_file, ready)
            if listen.registration is not None:
                listen.registration.start(address)
            log.info("serving", **{key: value for key, value in ready.items() if key != "role"})
            if on_ready is not None:
                await on_ready(address)
            await _watch(service, healthy, names, stopping)
            began = time.monotonic()
            log.info("draining")
            await healthy.enter_graceful_shutdown()
            if listen.registration is not None:
                await listen.registration.withdraw()
            try:
                await asyncio.wait_for(service.drain(), service.drain_seconds)
            except TimeoutError:
                log.warning("draining took too long; what was left is cut off")
            await listeners.stop(STOP_SECONDS)
            log.info("stopped", seconds=round(time.monotonic() - began, 3))
    finally:
        restore()
        await listeners.stop(None)
        await service.close()
        if listen.registration is not None:
            await listen.registration.close()
        await metrics.close()


async def _start_unless_stopped(service: Service, stopping: asyncio.Event) -> bool:
    """Starts the service; False when it was told to stop before it had started."""
    starting = asyncio.ensure_future(service.start())
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            return True
        return False
    finally:
        for task in (starting, stopped):
            task.cancel()


async def _watch(
    service: Service, healthy: health.aio.HealthServicer, names: tuple[str, ...], stopping: asyncio.Event
) -> None:
    """Until told to stop, reports liveness to health whenever it changes."""
    alive = True
    while not stopping.is_set():
        try:
            await asyncio.wait_for(stopping.wait(), HEALTH_SECONDS)
        except TimeoutError:
            if service.is_alive() != alive:
                alive = not alive
                logger("tandem.rpc").error("liveness changed", alive=alive)
                status = health_pb2.HealthCheckResponse
                for name in names:
                    await healthy.set(name, status.SERVING if alive else status.NOT_SERVING)


def _on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Has SIGTERM and SIGINT call ``stop``; returns what undoes it. In another than the main thread, does nothing."""
    loop = asyncio.get_running_loop()
    installed: list[signal.Signals] = []
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
            installed.append(number)
    except (ValueError, RuntimeError):
        pass

    def restore() -> None:
        for number in installed:
            loop.remove_signal_handler(number)

    return restore


def _write_ready(path: Path, ready: Mapping[str, object]) -> None:
    """Writes the file whole or not at all, so that a reader never sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(ready) + "\n")
    partial.replace(path)


def run(main: Callable[[], Awaitable[None]]) -> int:
    """Runs a service's main coroutine to its end and returns the exit code.

    0; or, with one line on stderr, 2 where it could not start and 1 where it broke. Only errors raised on purpose
    become a line: an unforeseen one keeps its traceback.
    """

    async def whole() -> None:
        await main()

    try:
        asyncio.run(whole())
    except TandemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, InvariantBroken) else 2
    except KeyboardInterrupt:
        return 130
    return 0


def leave(code: int) -> NoReturn:
    """Ends the process now, all output written.

    Everything has been closed by then, and taking down an interpreter with a model in it takes seconds: longer than a
    drained process may stay.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
