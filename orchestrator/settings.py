"""Settings of an orchestrator process."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from orchestrator.access.guard import Credentials
from orchestrator.access.key_file import KeyFile
from orchestrator.access.principal import Allowance
from orchestrator.access.tokens import Expected, Tokens
from orchestrator.admission import Room
from orchestrator.discovery.addresses import check
from orchestrator.session import Patience
from orchestrator.session_store import Lifetimes
from tandem.decoding.methods import method
from tandem.decoding.values import Speculation
from tandem.errors import TandemError
from tandem.pem_files import PemFiles
from tandem.settings import Addresses, ServiceSettings


class OrchestratorSettings(ServiceSettings):
    """Flags of ``python -m orchestrator``, and ``TANDEM_ORCHESTRATOR_…`` variables."""

    role: ClassVar[str] = "orchestrator"

    verify: Addresses = Field(
        description="addresses of the verify replicas, with commas between: host:port, dns:///host:port, "
        "kubernetes:///[NAMESPACE/]SERVICE:PORT or redis:///verify"
    )
    draft: Addresses = Field(
        (), description="addresses of the draft replicas, in the same forms; none: the target decodes alone"
    )
    tokenizer: str | None = Field(None, description="model folder or Hugging Face id; the shipped target if not given")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="session store; redis+sentinel://HOST:PORT,HOST:PORT/MASTER asks Sentinels where it is",
    )
    http_port: int = Field(
        0, ge=0, le=65535, description="port of the OpenAI-compatible API, /metrics and probes; 0 picks a free one"
    )
    model_name: str | None = Field(
        None,
        min_length=1,
        description="the model's id over HTTP; if not given, its own, or the last part of its folder",
    )

    playground: bool = Field(True, description="serves the page at / that shows decoding at work")

    method: str = Field("mtad", description="decoding method of requests that name none")
    draft_length: int = Field(4, description="tokens drafted a round, where a request does not say")
    beam_width: int = Field(4, description="beams a round, where a request does not say")
    threshold: float | None = Field(
        None, description="acceptance threshold, where a request does not say; the method's own if not given"
    )

    public_tls_cert: Path | None = Field(
        None,
        description="certificate chain shown to clients, over gRPC and HTTP; with --public-tls-key, they speak TLS",
    )
    public_tls_key: Path | None = Field(None, description="its private key")
    api_keys: Path | None = Field(
        None, description="file of API keys, one principal a line; read again when it changes; none: nobody is asked"
    )
    jwt_keys: Path | None = Field(
        None, description="JWKS file of who signs tokens, which are then taken as keys are; read again when it changes"
    )
    jwt_audience: str = Field("", description="audience that a token must name")
    jwt_issuer: str = Field("", description="issuer that a token must name")
    principal_max_sessions: int | None = Field(
        None,
        ge=1,
        description="sessions of one principal generated at once, where its key does not say; no bound if not given",
    )
    principal_requests_per_minute: int | None = Field(
        None, ge=1, description="calls of one principal a minute, where its key does not say; no bound if not given"
    )

    max_sessions: int = Field(1024, ge=1, description="sessions generated at once; more wait for their turn")
    max_waiting: int = Field(256, ge=0, description="sessions that wait for their turn; more are told to come back")
    queue_timeout: float = Field(30.0, gt=0, description="seconds to wait for a turn at most")
    reader_timeout: float = Field(60.0, gt=0, description="seconds in which a client must read something")
    session_ttl: int = Field(3600, ge=1, description="seconds until a session that does not move is forgotten")
    resume_ttl: int = Field(600, ge=1, description="seconds in which a session can be resumed after its stream ended")
    round_timeout: float = Field(30.0, gt=0, description="seconds after which an unjudged round counts as lost")
    lease_timeout: float = Field(
        120.0, gt=0, description="seconds without a commit after which a draft replica gives a session up by itself"
    )
    recovery_timeout: float = Field(60.0, gt=0, description="seconds a session waits for a lost replica or store")
    drain_timeout: float = Field(
        2.0,
        ge=0,
        description="seconds in which texts over plain HTTP, which nobody can resume, may end once told to stop",
    )
    slow_factor: float = Field(
        3.0,
        ge=0,
        description="a replica that takes so many times as long as its peers is left alone for a while; 0: none",
    )
    slow_pause: float = Field(
        10.0,
        gt=0,
        description="seconds a slow replica is left alone the first time; each time again it is twice as long",
    )
    startup_timeout: float = Field(10.0, ge=0, description="seconds to wait for the store and the draft replicas")

    @model_validator(mode="after")
    def _check(self) -> OrchestratorSettings:
        try:
            method(self.defaults.method)
            for address in (*self.verify, *self.draft):
                check(address)
        except TandemError as error:
            raise ValueError(str(error)) from None
        if (self.public_tls_cert is None) != (self.public_tls_key is None):
            raise ValueError("public_tls_cert and public_tls_key go together")
        if self.jwt_keys is not None and not (self.jwt_audience and self.jwt_issuer):
            raise ValueError("jwt_keys takes jwt_audience and jwt_issuer: a token for somebody else must not do here")
        if 0 < self.slow_factor <= 1:
            raise ValueError("slow_factor is more than 1, or 0: with less, every other replica would be slow")
        if not self.verify:
            raise ValueError("verify names no address; expected host:port, several with commas between")
        return self

    def open_public_tls(self) -> PemFiles | None:
        """What is shown to clients; None: plaintext.

        Raises:
            InvalidArgument: a file cannot be used.
        """
        return PemFiles(None, self.public_tls_cert, self.public_tls_key) if self.public_tls_cert else None

    @property
    def defaults(self) -> Speculation:
        """How tokens are drafted and judged where a request does not say."""
        own = method(self.method).default_threshold
        threshold = own if self.threshold is None else self.threshold
        return Speculation(self.method, self.draft_length, self.beam_width, threshold)

    @property
    def allowance(self) -> Allowance:
        """How much a principal may ask for, where nothing else is said of it."""
        return Allowance(self.principal_max_sessions, self.principal_requests_per_minute)

    def credentials(self) -> tuple[Credentials, ...]:
        """How callers may say who they are; none: nobody is asked.

        Raises:
            InvalidArgument: a file cannot be used.
        """
        found: list[Credentials] = []
        if self.api_keys is not None:
            found.append(KeyFile(self.api_keys, self.allowance))
        if self.jwt_keys is not None:
            found.append(Tokens(self.jwt_keys, Expected(self.jwt_audience, self.jwt_issuer), self.allowance))
        return tuple(found)

    @property
    def room(self) -> Room:
        """How many sessions run and wait."""
        return Room(self.max_sessions, self.max_waiting, self.queue_timeout)

    @property
    def lifetimes(self) -> Lifetimes:
        """When the store forgets sessions."""
        return Lifetimes(self.session_ttl, self.resume_ttl)

    @property
    def patience(self) -> Patience:
        """How long sessions wait for what."""
        return Patience(
            recovery_seconds=self.recovery_timeout,
            round_timeout_seconds=self.round_timeout,
            lease_seconds=self.lease_timeout,
        )
