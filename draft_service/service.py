"""The draft service's life: load the draft model in the model thread, serve, drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import grpc.aio
from prometheus_client import CollectorRegistry

from draft_service.drafter import Drafter, Limits
from draft_service.events import Drain, Drained, Event, Outgoing, ToOrchestrator, ToVerify
from draft_service.links import VerifyLinks
from draft_service.metrics import DraftMetrics
from draft_service.servicer import DraftServicer
from tandem.decoding.methods import METHODS
from tandem.engine.hosting import HostedModel
from tandem.model_host import ModelHost
from tandem.model_thread import Outlet
from tandem.pem_files import PemFiles
from tandem.rpc.codec import Description
from tandem.rpc.server import DRAIN_SECONDS
from tandem.v1 import draft_pb2_grpc


class DraftService:
    """One draft replica. ``load`` is called in the model thread, and may take its time."""

    role = "draft"
    grpc_name = "tandem.v1.DraftService"
    drain_seconds = DRAIN_SECONDS
    interceptors = ()

    def __init__(
        self,
        load: Callable[[], HostedModel],
        tokenizer_digest: str,
        limits: Limits,
        registry: CollectorRegistry,
        tls: PemFiles | None = None,
    ) -> None:
        """``tls``: what is shown to verify replicas, and whom of them to trust; None is plaintext."""
        self._limits = limits
        self._metrics = DraftMetrics(registry)
        self._host: ModelHost[Event] = ModelHost(self.role, load, tokenizer_digest, registry)
        self._servicer = DraftServicer(self._host.thread, self._describe)
        self._links = VerifyLinks(self._host.thread.post, tls)
        self._drafter: Drafter | None = None
        self._drained = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        draft_pb2_grpc.add_DraftServiceServicer_to_server(self._servicer, server)  # type: ignore[no-untyped-call]

    async def start(self) -> None:
        """Loads the draft model and begins to take leases.

        Raises:
            TandemError: the model is not one that is served.
        """
        outlet: Outlet[Outgoing] = Outlet(asyncio.get_running_loop(), self._deliver)

        def build(hosted: HostedModel) -> Drafter:
            self._drafter = Drafter(hosted, self._limits, outlet, self._metrics)
            return self._drafter

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
        """Refuses new leases, waits for the verdicts that are out, ends the leases and the streams."""
        self._host.lifecycle = "draining"
        self._servicer.refuse_new()
        self._host.thread.post(Drain())
        try:
            await self._drained.wait()
        finally:
            self._servicer.end_streams()

    async def close(self) -> None:
        """Ends the links to verify replicas and the model thread."""
        await self._links.close()
        await self._host.thread.stop()

    def _describe(self) -> Description:
        drafted = tuple(name for name, method in METHODS.items() if not method.target_only)
        return self._host.describe(drafted, self._drafter.num_leases if self._drafter is not None else 0)

    def _deliver(self, items: list[Outgoing]) -> None:
        """Sends proposals first: a verify replica waits for them. The rest follows once they are on their way."""
        others = [item for item in items if not isinstance(item, ToVerify)]
        for item in items:
            if isinstance(item, ToVerify):
                self._links.send(item.address, item.request)
        if others:
            asyncio.get_running_loop().call_soon(self._answer, others)

    def _answer(self, items: list[ToOrchestrator | Drained]) -> None:
        for item in items:
            if isinstance(item, ToOrchestrator):
                self._servicer.deliver(item.stream, item.answer)
            else:
                self._drained.set()
