"""The orchestrator as a service: what it is made of, in which order it starts and ends."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence

import grpc.aio
from prometheus_client import CollectorRegistry

from orchestrator.access.grpc_edge import EdgeInterceptor
from orchestrator.access.guard import Guard
from orchestrator.access.http_edge import GuardedApp
from orchestrator.access.quotas import Quotas
from orchestrator.discovery.addresses import source_of
from orchestrator.metrics import Metrics
from orchestrator.openai.door import OpenAIDoor, no_such_route
from orchestrator.openai.served import ServedModel
from orchestrator.placement import Placement, accepted
from orchestrator.playground.door import Playground
from orchestrator.reading import Readers
from orchestrator.scoring import Scoring
from orchestrator.servicer import GenerationServicer
from orchestrator.session import Surroundings
from orchestrator.session_store import SessionStore
from orchestrator.sessions import Sessions
from orchestrator.settings import OrchestratorSettings
from orchestrator.slowness import Slowness
from tandem.chat_template import ChatTemplate
from tandem.decoding.methods import METHODS
from tandem.decoding.rng import DRAWING_VERSION
from tandem.errors import Unavailable
from tandem.models import shipped
from tandem.rpc.codec import Description, Lifecycle
from tandem.rpc.http import HttpServer, application
from tandem.rpc.listeners import is_loopback
from tandem.rpc.server import DRAIN_SECONDS
from tandem.telemetry import logger
from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2_grpc

SAY_EVERY_SECONDS = 10.0


class Orchestrator:
    """The service that `tandem.rpc.server` runs."""

    role = "orchestrator"
    grpc_name = "tandem.v1.GenerationService"

    def __init__(
        self, settings: OrchestratorSettings, registry: CollectorRegistry, store: SessionStore | None = None
    ) -> None:
        """Reads the tokenizer and its chat template; connects to nothing yet. ``store``: instead of the settings' own.

        Raises:
            ModelRefused: there is no tokenizer where the settings say, or its chat template cannot be used.
            InvalidArgument: a setting cannot be used.
        """
        self._settings = settings
        self._tokenizer_name = settings.tokenizer or str(shipped("target"))
        tokenizer = Tokenizer.from_pretrained(self._tokenizer_name)
        self._tokenizer = tokenizer
        self._store = store or SessionStore(settings.redis_url, settings.lifetimes)
        verify, draft = (source_of(one, settings.redis_url) for one in (settings.verify, settings.draft))
        self._placement = Placement(tokenizer, verify, draft, settings.open_tls())
        metrics = Metrics(registry)
        self._placement.count_in(metrics.replicas)
        slowness = Slowness(self._placement, metrics, settings.slow_factor, settings.slow_pause)
        around = Surroundings(self._store, self._placement, tokenizer, metrics, settings.patience, slowness)
        quotas = Quotas(metrics)
        self._sessions = Sessions(around, settings.defaults, settings.room, quotas, Readers(settings.reader_timeout))
        self._scoring = Scoring(self._sessions, self._placement, metrics)
        self._guard = Guard(settings.credentials(), settings.allowance, quotas, metrics)
        template = ChatTemplate.from_pretrained(self._tokenizer_name)
        routes = OpenAIDoor(self._sessions, self._scoring, tokenizer, template, self._served).routes()
        open_paths = ["/healthz", "/readyz", "/openapi.json"]
        self._playground = None
        if settings.playground:
            self._playground = Playground(self._sessions, tokenizer, settings.defaults, self._served)
            routes += self._playground.routes()
            open_paths += self._playground.open_paths
        app = application(registry, self.is_alive, self.why_not_ready, routes, no_such_route)
        guarded = GuardedApp(app, self._guard, open_paths, operator_paths=["/metrics"])
        self._http = HttpServer(guarded, settings.host, settings.http_port, settings.open_public_tls())
        self._instance_id = secrets.token_hex(8)
        self._lifecycle: Lifecycle = "starting"
        self._log = logger("orchestrator")

    @property
    def drain_seconds(self) -> float:
        """What texts are given to end, and the last words."""
        return self._settings.drain_timeout + DRAIN_SECONDS / 2

    @property
    def interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        """Let calls of the generation service in."""
        return (EdgeInterceptor(self._guard, self._sessions.admission, self.grpc_name),)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the generation service."""
        servicer = GenerationServicer(self._sessions, self._scoring, self.describe)
        generation_pb2_grpc.add_GenerationServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]

    def describe(self) -> Description:
        """What this orchestrator serves: the target, as its verify replicas have it."""
        verify = [link.description for link in accepted(self._placement.verify_links) if link.description is not None]
        served = verify[0] if verify else None
        can_draft = bool(accepted(self._placement.draft_links))
        limits = self._placement.limits(drafted=can_draft) if served else None
        return Description(
            role=self.role,
            instance_id=self._instance_id,
            drawing_version=DRAWING_VERSION,
            lifecycle=self._lifecycle,
            model=served.model if served else self._tokenizer_name,
            weights_digest=served.weights_digest if served else "",
            tokenizer_digest=self._tokenizer.digest,
            vocab_size=limits.vocab_size if limits else self._tokenizer.vocab_size,
            max_positions=limits.max_positions if limits else 0,
            methods=tuple(METHODS),
            eos_token_ids=limits.eos_token_ids if limits else (),
            dtype=served.dtype if served else "",
            num_sessions=self._sessions.num_followed,
        )

    def _served(self) -> ServedModel:
        links = accepted(self._placement.draft_links)
        drafts = [link.description for link in links if link.description is not None]
        return ServedModel.of(self.describe(), drafts, self._settings.model_name)

    async def start(self) -> None:
        """Waits for the store and for a verify replica, and for a while for the other replicas.

        Raises:
            Unavailable: the store does not answer.
            ModelRefused: all verify replicas answer, and none fits.
        """
        if self._guard.is_open and not is_loopback(self._settings.host):
            self._log.warning("anybody who reaches this port is served: no --api-keys", host=self._settings.host)
        self._http.start()
        self._placement.start()
        await self._await_store()
        await self._await_verify()
        placement = self._placement
        # A draft replica that is still loading would have the first texts decoded by the target alone.
        if not await placement.wait(lambda: placement.is_known, self._settings.startup_timeout):
            self._log.warning("serving without some replicas", reasons=placement.why_not_known())
        self._lifecycle = "ready"

    def ready_fields(self) -> Mapping[str, str]:
        """Where HTTP is served."""
        return {"http": self._http.url}

    def is_alive(self) -> bool:
        """The event loop runs, or nobody would be asking; peers and store have no say."""
        return True

    async def why_not_ready(self) -> str:
        """Empty while it serves, a verify replica is there, and the store answers."""
        if self._lifecycle != "ready":
            return self._lifecycle
        if not accepted(self._placement.verify_links):
            return self._placement.why_no_verify()
        try:
            await self._store.ping()
        except Unavailable as error:
            return str(error)
        return ""

    async def drain(self) -> None:
        """Has texts resumed elsewhere; those that nobody can resume may end for a while."""
        self._lifecycle = "draining"
        await self._sessions.drain(self._settings.drain_timeout)

    async def close(self) -> None:
        """Closes what `start` opened."""
        await self._sessions.close()
        await self._placement.close()
        await self._store.close()
        await self._http.close()
        if self._playground is not None:
            self._playground.close()

    async def _await_store(self) -> None:
        give_up = time.monotonic() + self._settings.startup_timeout
        while True:
            try:
                return await self._store.ping()
            except Unavailable as error:
                if time.monotonic() > give_up:
                    raise Unavailable(f"{error}. Is redis_url right, and Redis running there?") from None
                await asyncio.sleep(0.1)

    async def _await_verify(self) -> None:
        placement = self._placement
        settled = lambda: (  # noqa: E731
            bool(accepted(placement.verify_links)) or placement.refuses_verifying
        )
        while not await placement.wait(settled, SAY_EVERY_SECONDS):
            self._log.warning("waiting", reason=placement.why_no_verify())
        placement.check_verifying()
