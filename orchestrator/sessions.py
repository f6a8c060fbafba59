"""All sessions that this orchestrator runs: how they begin, are found again, and end."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from orchestrator.access.cache_salt import cache_salt
from orchestrator.access.principal import caller
from orchestrator.access.quotas import Quotas
from orchestrator.admission import Admission, Room
from orchestrator.events import Event, Finished
from orchestrator.leaving import Leaving
from orchestrator.placement import accepted, weights_digest
from orchestrator.reading import Readers
from orchestrator.records import SessionRecord, Setup
from orchestrator.restoring import extended
from orchestrator.session import Session, Surroundings
from orchestrator.session_store import no_such
from tandem.decoding.methods import method
from tandem.decoding.rng import DRAWING_VERSION
from tandem.decoding.values import MAX_TOKENS, Decoding, Fence, RunningDigest, Speculation
from tandem.errors import (
    Cancelled,
    ModelRefused,
    TandemError,
    Unavailable,
)
from tandem.generation import Options
from tandem.matching import check_constraint
from tandem.requests import Limits, checked_prompt, checked_stop, decoding_for
from tandem.rpc.status import code_of
from tandem.telemetry import logger

LONG_TEXT = 4_000
"""Characters from which a prompt is tokenised in another thread, so that nobody else waits for it."""

ANY_MODEL = Limits(vocab_size=1 << 32, max_positions=2 * MAX_TOKENS, eos_token_ids=(0,))

FIRST_ANSWER_SECONDS = 2.0
PLACEMENT_SECONDS = 5.0
"""How long a new request waits for replicas that have not answered yet, and for a first verify replica."""

LAST_WORDS_SECONDS = 0.5
"""For the streams to tell their clients that this orchestrator is stopping."""


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What a client asks for."""

    prompt: str | tuple[int, ...]
    options: Options
    arrived: float
    """By `time.monotonic`, as the deadline."""
    deadline: float | None = None
    add_special_tokens: bool = True
    """Whether the tokenizer adds those that begin a text; the text of a chat template brings its own."""


class Sessions:
    """The front desk. Owner: the servicer; the tasks it starts end with `close`."""

    def __init__(
        self,
        around: Surroundings,
        defaults: Speculation,
        room: Room,
        quotas: Quotas,
        readers: Readers | None = None,
    ) -> None:
        self.admission = Admission(room, around.metrics, lambda count: quotas.sessions(caller(), count))
        """Whoever starts or resumes a session has a place from here first, and holds it while it is followed."""
        self.readers = readers or Readers()
        """Whoever streams a session writes through here."""
        self._around = around
        self._defaults = defaults
        self._followed: set[Session] = set()
        self._bound: set[Session] = set()
        """Those of them whose clients cannot resume elsewhere."""
        self._leaving = Leaving(around.store)
        self._left = asyncio.Event()
        """Set whenever the last session was left."""
        self._log = logger("orchestrator.sessions")

    @property
    def num_followed(self) -> int:
        """Sessions with a client."""
        return len(self._followed)

    async def check_options(self, options: Options) -> tuple[Decoding, tuple[str, ...]]:
        """What they come to with any model, and the stop strings. What none could serve is refused, whatever is alive.

        Raises:
            InvalidArgument: an option cannot be served, by name.
        """
        stop = checked_stop(options.get("stop"))
        wanted = decoding_for(options, 1, ANY_MODEL, self._defaults)
        if wanted.sampling.constraint is not None:
            await asyncio.to_thread(check_constraint, wanted.sampling.constraint)
        return wanted, stop

    async def start(self, request: GenerationRequest) -> Session:
        """A new session, not yet written anywhere: all of the request has been found servable.

        Raises:
            InvalidArgument: it cannot be served as asked. Unavailable: no verify replica.
        """
        options = request.options
        wanted, stop = await self.check_options(options)
        if not isinstance(request.prompt, str):
            checked_prompt(request.prompt, ANY_MODEL)
        drafted = not method(wanted.speculation.method).target_only
        limits = await self.limits(drafted)
        prompt = checked_prompt(
            await self.tokens(request.prompt, add_special_tokens=request.add_special_tokens), limits
        )
        decoding = decoding_for(options, len(prompt), limits, self._defaults)
        decoding = replace(decoding, cache_salt=cache_salt(caller().name, decoding.cache_salt))
        tokenizer = self._around.tokenizer
        record = SessionRecord(
            session_id=secrets.token_urlsafe(16),
            setup=Setup(
                prompt_length=len(prompt),
                decoding=decoding,
                stop=stop,
                tokenizer_digest=tokenizer.digest,
                drawing_version=DRAWING_VERSION,
                target=self._target(),
                created=time.time(),
                principal=caller().name,
            ),
            fence=Fence(1, secrets.token_bytes(16)),
            position=len(prompt),
            digest=RunningDigest(prompt).value,
            token_ids=prompt,
            log_probs=(),
        )
        self._around.metrics.prompt_tokens.inc(len(prompt))
        return Session(record, self._around, arrived=request.arrived, deadline=request.deadline, principal=caller())

    async def resume(
        self,
        session_id: str,
        position: int,
        digest: bytes,
        token_ids: Sequence[int],
        *,
        arrived: float,
        deadline: float | None = None,
    ) -> Session:
        """A session taken up from the store, past what its client has.

        Raises:
            NotFound: no such session. Stale: the position lies past its text. DataLoss: the client's text is another.
        """
        record = await self.find(session_id)
        setup, tokenizer = record.setup, self._around.tokenizer
        if (setup.tokenizer_digest, setup.drawing_version) != (tokenizer.digest, DRAWING_VERSION):
            raise ModelRefused(f"session {session_id} was made with another tokenizer or drawing version")
        if position > record.position and token_ids and record.ended is None:
            record = extended(record, token_ids, position, digest, tokenizer)
            self._log.warning("the store lost committed tokens; restoring them from the client", session_id=session_id)
            await self._around.store.restore(record)
            if record.ended is not None:
                await self._around.store.end(session_id, record.ended, secrets.token_bytes(16), record.stop)
        session = Session(record, self._around, arrived=arrived, deadline=deadline, is_new=False, principal=caller())
        session.text.skip_to(position, digest)
        return session

    async def cancel(self, session_id: str) -> None:
        """Ends a session, wherever it runs.

        Raises:
            NotFound: no such session of the caller's.
        """
        await self.find(session_id)
        await self._around.store.end(session_id, "cancelled", secrets.token_bytes(16))
        self._interrupt(session_id)

    async def delete(self, session_id: str) -> None:
        """Ends a session, wherever it runs, and forgets its prompt and its text.

        Raises:
            NotFound: no such session of the caller's; operators may delete anybody's.
        """
        if not caller().is_operator:
            await self.find(session_id)
        await self._around.store.delete(session_id, secrets.token_bytes(16))
        self._interrupt(session_id)

    def _interrupt(self, session_id: str) -> None:
        for session in self._followed:
            if session.session_id == session_id:
                session.interrupt(Cancelled("the session was cancelled"))

    async def find(self, session_id: str) -> SessionRecord:
        """Where a session stands. One of somebody else is as if it were not there.

        Raises:
            NotFound: no such session of the caller's.
        """
        record = await self._around.store.read(session_id)
        if not caller().may_use(record.setup.principal):
            raise no_such(session_id)
        return record

    async def limits(self, drafted: bool) -> Limits:
        """What a request may ask of the replicas that are there, once those that may come soon have come.

        Raises:
            Unavailable: no verify replica. ModelRefused: those that there are do not fit.
        """
        placement = self._around.placement
        links = [*placement.verify_links, *(placement.draft_links if drafted else ())]
        await placement.wait(lambda: all(link.state != "connecting" for link in links), FIRST_ANSWER_SECONDS)
        if not accepted(placement.verify_links):
            placement.check_verifying()
            seconds = min(PLACEMENT_SECONDS, self._around.patience.recovery_seconds)
            if not await placement.wait(lambda: bool(accepted(placement.verify_links)), seconds):
                raise Unavailable(placement.why_no_verify())
        if drafted:
            placement.check_drafting()
        return placement.limits(drafted=drafted)

    async def tokens(self, prompt: str | tuple[int, ...], *, add_special_tokens: bool = True) -> Sequence[int]:
        """A prompt as the target reads it."""
        if not isinstance(prompt, str):
            return prompt
        if not prompt:
            return ()
        encode = partial(self._around.tokenizer.encode, prompt, add_special_tokens=add_special_tokens)
        return encode() if len(prompt) < LONG_TEXT else await asyncio.to_thread(encode)

    @asynccontextmanager
    async def follow(self, session: Session, *, resumable: bool = True) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of a session, for as long as somebody reads them.

        One that is left before its end can be resumed for a while, or is cancelled where nobody could resume it.
        """
        metrics = self._around.metrics
        self._followed.add(session)
        if not resumable:
            self._bound.add(session)
        metrics.running.inc()
        try:
            async with aclosing(self._watched(session)) as events:
                yield events
        except TandemError as error:
            metrics.failures.labels(code_of(error).name).inc()
            raise
        finally:
            metrics.running.dec()
            self._followed.discard(session)
            self._bound.discard(session)
            if not self._followed:
                self._left.set()
            session.release()
            if not session.is_finished:
                self._leaving.leave(session, resumable=resumable)

    async def drain(self, patience_seconds: float) -> None:
        """Takes nothing new, and has what runs resumed elsewhere; what nobody can resume may end for a while."""
        self.admission.close(Unavailable("this orchestrator is stopping; ask another"))
        for session in self._followed - self._bound:
            session.interrupt(Unavailable("this orchestrator is stopping; the session can be resumed at another"))
        await self._idle(patience_seconds)
        for session in self._bound:
            session.interrupt(Unavailable("this orchestrator is stopping, and the text was longer than it could wait"))
        await self._idle(LAST_WORDS_SECONDS)

    async def close(self) -> None:
        """Waits for what was being written."""
        await self._leaving.close()

    async def _idle(self, patience_seconds: float) -> None:
        """Waits until nobody follows a session, but not for longer than patience lasts."""
        self._left.clear()
        if self._followed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), patience_seconds)

    def _target(self) -> str:
        link = self._around.placement.verify_for(None)
        return (weights_digest(link) if link else None) or ""

    async def _watched(self, session: Session) -> AsyncGenerator[Event]:
        async with aclosing(session.events()) as events:
            async for event in events:
                if isinstance(event, Finished):
                    self._around.metrics.count_finished(event, time.monotonic() - session.arrived)
                yield event
