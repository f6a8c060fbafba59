"""The verify service's life: load the target in the model thread, serve, drain."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping

import grpc.aio
from prometheus_client import CollectorRegistry

from tandem.decoding.methods import METHODS
from tandem.decoding.rng import DRAWING_VERSION
from tandem.engine.hosting import HostedModel
from tandem.model_thread import ModelThread, Outlet
from tandem.rpc.codec import Description, Lifecycle
from tandem.telemetry import gauge, logger
from tandem.v1 import verify_pb2_grpc
from verify_service.events import Answer, Drain, Drained, Event, Stream
from verify_service.judge import Judge
from verify_service.metrics import VerifyMetrics
from verify_service.servicer import VerifyServicer
from verify_service.sessions import Limits

_log = logger("verify_service")


class VerifyService:
    """One verify replica. ``load`` is called in the model thread, and may take its time."""

    role = "verify"
    grpc_name = "tandem.v1.VerifyService"

    def __init__(
        self, load: Callable[[], HostedModel], tokenizer_digest: str, limits: Limits, registry: CollectorRegistry
    ) -> None:
        self._load = load
        self._tokenizer_digest = tokenizer_digest
        self._limits = limits
        self._metrics = VerifyMetrics(registry)
        self._instance_id = secrets.token_hex(8)
        self._lifecycle: Lifecycle = "starting"
        self._hosted: HostedModel | None = None
        self._thread: ModelThread[Event] = ModelThread("target-model")
        self._servicer = VerifyServicer(self._thread, self.describe)
        self._drained = asyncio.Event()
        self._num_sessions: Callable[[], int] = lambda: 0
        gauge(registry, "model_busy_seconds", "Seconds the model thread was not waiting.").set_function(
            lambda: self._thread.busy_seconds
        )

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        verify_pb2_grpc.add_VerifyServiceServicer_to_server(self._servicer, server)  # type: ignore[no-untyped-call]

    async def start(self) -> None:
        """Loads the target and begins to take work.

        Raises:
            TandemError: the model is not one that is served.
        """
        outlet: Outlet[tuple[Stream | None, Answer | Drained]] = Outlet(asyncio.get_running_loop(), self._deliver)
        loaded: list[HostedModel] = []

        def build() -> Judge:
            loaded.append(self._load())
            judge = Judge(loaded[0], self._limits, outlet, self._metrics)
            self._num_sessions = lambda: judge.num_sessions
            return judge

        await self._thread.start(build)
        hosted = self._hosted = loaded[0]
        _log.info("target loaded", model=hosted.name, dtype=hosted.dtype, num_kv_slots=hosted.num_kv_slots)
        self._servicer.begin(hosted)
        self._lifecycle = "ready"

    def ready_fields(self) -> Mapping[str, str]:
        """Nothing beyond the addresses."""
        return {}

    def is_alive(self) -> bool:
        """Whether the model thread makes progress."""
        return self._thread.is_alive()

    def describe(self) -> Description:
        """What this replica is."""
        hosted = self._hosted
        if hosted is None:
            return Description(self.role, self._instance_id, DRAWING_VERSION, self._lifecycle)
        return Description(
            role=self.role,
            instance_id=self._instance_id,
            drawing_version=DRAWING_VERSION,
            lifecycle=self._lifecycle,
            model=hosted.name,
            weights_digest=hosted.weights_digest,
            tokenizer_digest=self._tokenizer_digest,
            vocab_size=hosted.vocab_size,
            max_positions=hosted.max_positions,
            methods=tuple(METHODS),
            eos_token_ids=hosted.eos_token_ids,
            dtype=hosted.dtype,
            num_sessions=self._num_sessions(),
            num_kv_slots=hosted.num_kv_slots,
        )

    async def drain(self) -> None:
        """Refuses new sessions, finishes the rounds that are ready, ends the streams."""
        self._lifecycle = "draining"
        self._servicer.refuse_new()
        self._thread.post(Drain())
        try:
            await self._drained.wait()
        finally:
            self._servicer.end_streams()

    async def close(self) -> None:
        """Ends the model thread."""
        await self._thread.stop()

    def _deliver(self, items: list[tuple[Stream | None, Answer | Drained]]) -> None:
        self._servicer.deliver(items)
        if any(isinstance(answer, Drained) for _, answer in items):
            self._drained.set()
