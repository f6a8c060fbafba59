"""What the two services that run a model have in common: the thread that owns it, and what Describe says of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry

from tandem.decoding.rng import DRAWING_VERSION
from tandem.energy.metrics import EnergyMetrics
from tandem.engine.hosting import HostedModel
from tandem.model_thread import Actor, ModelThread
from tandem.rpc.codec import Description, Lifecycle
from tandem.telemetry import gauge, logger

Event = TypeVar("Event")


class ModelHost(Generic[Event]):
    """A model and its thread. The service that has it moves ``lifecycle`` on to draining."""

    def __init__(
        self, role: str, load: Callable[[], HostedModel], tokenizer_digest: str, registry: CollectorRegistry
    ) -> None:
        self.thread: ModelThread[Event] = ModelThread(f"{role}-model")
        self.lifecycle: Lifecycle = "starting"
        self._role = role
        self._load = load
        self._tokenizer_digest = tokenizer_digest
        self._registry = registry
        self._instance_id = secrets.token_hex(8)
        self._hosted: HostedModel | None = None
        busy = gauge(registry, "model_busy_seconds", "Seconds in which the model's thread was not waiting.")
        busy.set_function(lambda: self.thread.busy_seconds)
        share = gauge(registry, "busy_share", "Share of the last ten seconds in which it was not, 0 to 1.")
        share.set_function(lambda: self.thread.busy_share)

    async def start(self, build: Callable[[HostedModel], Actor[Event]]) -> HostedModel:
        """Loads the model and builds its actor, both in the model thread.

        Raises:
            TandemError: the model is not one that is served.
        """
        loaded: list[HostedModel] = []

        def load_and_build() -> Actor[Event]:
            loaded.append(self._load())
            return build(loaded[0])

        await self.thread.start(load_and_build)
        hosted = self._hosted = loaded[0]
        if hosted.meter is not None:
            EnergyMetrics(hosted.meter, self._registry)
        logger("tandem.model_host").info(
            "model loaded",
            model=hosted.name,
            dtype=hosted.dtype,
            num_kv_slots=hosted.num_kv_slots,
            max_positions=hosted.max_positions,
        )
        self.lifecycle = "ready"
        return hosted

    def is_alive(self) -> bool:
        """Whether the model's thread makes progress.

        Raises:
            InvariantBroken: it has died, or the model can never run again.
        """
        if self._hosted is not None:
            self._hosted.check()
        return self.thread.is_alive()

    def describe(self, methods: tuple[str, ...], num_sessions: int) -> Description:
        """What the replica is; without the model's part while that is being loaded."""
        hosted = self._hosted
        if hosted is None:
            return Description(self._role, self._instance_id, DRAWING_VERSION, self.lifecycle)
        return Description(
            role=self._role,
            instance_id=self._instance_id,
            drawing_version=DRAWING_VERSION,
            lifecycle=self.lifecycle,
            model=hosted.name,
            weights_digest=hosted.weights_digest,
            tokenizer_digest=self._tokenizer_digest,
            vocab_size=hosted.vocab_size,
            max_positions=hosted.max_positions,
            methods=methods,
            eos_token_ids=hosted.eos_token_ids,
            dtype=hosted.dtype,
            num_sessions=num_sessions,
            num_kv_slots=hosted.num_kv_slots,
        )
