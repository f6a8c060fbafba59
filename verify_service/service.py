"""The verify service's life: load the target in the model thread, serve, drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import grpc.aio
from prometheus_client import CollectorRegistry

from tandem.decoding.methods import METHODS
from tandem.engine.hosting import HostedModel
from tandem.model_host import ModelHost
from tandem.model_thread import Outlet
from tandem.rpc.codec import Description
from tandem.rpc.server import DRAIN_SECONDS
from tandem.v1 import verify_pb2_grpc
from verify_service.events import Drain, Drained, Event, Said
from verify_service.judge import Judge
from verify_service.metrics import VerifyMetrics
from verify_service.servicer import VerifyServicer
from verify_service.sessions import Limits


class VerifyService:
    """One verify replica. ``load`` is called in the model thread, and may take its time."""

    role = "verify"
    grpc_name = "tandem.v1.VerifyService"
    drain_seconds = DRAIN_SECONDS
    interceptors = ()

    def __init__(
        self, load: Callable[[], HostedModel], tokenizer_digest: str, limits: Limits, registry: CollectorRegistry
    ) -> None:
        self._limits = limits
        self._metrics = VerifyMetrics(registry)
        self._host: ModelHost[Event] = ModelHost(self.role, load, tokenizer_digest, registry)
        self._servicer = VerifyServicer(self._host.thread, self._describe)
        self._judge: Judge | None = None
        self._drained = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        verify_pb2_grpc.add_VerifyServiceServicer_to_server(self._servicer, server)  # type: ignore[no-untyped-call]

    async def start(self) -> None:
        """Loads the target and begins to take work.

        Raises:
            TandemError: the model is not one that is served.
        """
        outlet: Outlet[Said] = Outlet(asyncio.get_running_loop(), self._deliver)

        def build(hosted: HostedModel) -> Judge:
            self._judge = Judge(hosted, self._limits, outlet, self._metrics)
            return self._judge

        self._servicer.begin(await self._host.start(build))

    def ready_fields(self) -> Mapping[str, str]:
        """Nothing beyond the addresses."""
        return {}

    def is_alive(self) -> bool:
        """Whether the model thread makes progress."""
        return self._host.is_alive()

    async def why_not_ready(self) -> str:
        """Its lifecycle, while that is another than ready."""
        return "" if self._host.lifecycle == "ready" else self._host.lifecycle

    async def drain(self) -> None:
        """Refuses new sessions, finishes the rounds that are ready, ends the streams."""
        self._host.lifecycle = "draining"
        self._servicer.refuse_new()
        self._host.thread.post(Drain())
        try:
            await self._drained.wait()
        finally:
            self._servicer.end_streams()

    async def close(self) -> None:
        """Ends the model thread."""
        await self._host.thread.stop()

    def _describe(self) -> Description:
        return self._host.describe(tuple(METHODS), self._judge.num_sessions if self._judge is not None else 0)

    def _deliver(self, items: list[Said]) -> None:
        self._servicer.deliver(items)
        if any(isinstance(item, Drained) for item in items):
            self._drained.set()
