"""Settings of an orchestrator process."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from orchestrator.admission import Room
from orchestrator.session import Patience
from orchestrator.session_store import Lifetimes
from tandem.decoding.methods import method
from tandem.decoding.values import Speculation
from tandem.errors import TandemError
from tandem.rpc.channel import check_address
from tandem.settings import Addresses, ServiceSettings


class OrchestratorSettings(ServiceSettings):
    """Flags of ``python -m orchestrator``, and ``TANDEM_ORCHESTRATOR_…`` variables."""

    role: ClassVar[str] = "orchestrator"

    verify: Addresses = Field(description="addresses of the verify replicas, with commas between")
    draft: Addresses = Field((), description="addresses of the draft replicas; none: the target decodes alone")
    tokenizer: str | None = Field(None, description="model folder or Hugging Face id; the shipped target if not given")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="session store")
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

    max_sessions: int = Field(1024, ge=1, description="sessions generated at once; more wait for their turn")
    max_waiting: int = Field(256, ge=0, description="sessions that wait for their turn; more are told to come back")
    queue_timeout: float = Field(30.0, gt=0, description="seconds to wait for a turn at most")
    reader_timeout: float = Field(60.0, gt=0, description="seconds in which a client must read something")
    session_ttl: int = Field(3600, ge=1, description="seconds until a session that does not move is forgotten")
    resume_ttl: int = Field(600, ge=1, description="seconds in which a session can be resumed after its stream ended")
    round_timeout: float = Field(30.0, gt=0, description="seconds after which an unjudged round counts as lost")
    recovery_timeout: float = Field(60.0, gt=0, description="seconds a session waits for a lost replica or store")
    startup_timeout: float = Field(10.0, ge=0, description="seconds to wait for the store and the draft replicas")

    @model_validator(mode="after")
    def _check(self) -> OrchestratorSettings:
        try:
            method(self.defaults.method)
            for address in (*self.verify, *self.draft):
                check_address(address)
        except TandemError as error:
            raise ValueError(str(error)) from None
        if not self.verify:
            raise ValueError("verify names no address; expected host:port, several with commas between")
        return self

    @property
    def defaults(self) -> Speculation:
        """How tokens are drafted and judged where a request does not say."""
        own = method(self.method).default_threshold
        threshold = own if self.threshold is None else self.threshold
        return Speculation(self.method, self.draft_length, self.beam_width, threshold)

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
        return Patience(recovery_seconds=self.recovery_timeout, round_timeout_seconds=self.round_timeout)
