"""The actor that owns the target model: all sessions' rounds that are ready, one pass, verdicts; and again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from tandem.decoding.values import Fence, Outcome, RunningDigest
from tandem.engine.hosting import HostedModel
from tandem.engine.scheduler import next_step
from tandem.engine.text import CHUNK_TOKENS
from tandem.engine.verifier import Verifier
from tandem.errors import InvalidArgument, Stale, TandemError, Unavailable
from tandem.model_thread import Outlet
from tandem.telemetry import logger
from verify_service.events import (
    Answer,
    Close,
    Committed,
    Drain,
    Drained,
    Event,
    Extend,
    KvMissed,
    LeaveScore,
    NotScored,
    Open,
    Over,
    Refused,
    Round,
    Said,
    Score,
    Scored,
    Stream,
    StreamOver,
)
from verify_service.metrics import VerifyMetrics
from verify_service.scores import Scores
from verify_service.session import Session
from verify_service.sessions import Limits, Sessions

_log = logger("verify_service")

LINGER_SECONDS = 0.0003
"""How long a pass waits for one more round, while sessions that are being served have none ready."""

_NOTHING_HELD = RunningDigest().value


class Judge:
    """Keeps the sessions and judges their rounds. Runs in the model thread."""

    def __init__(
        self,
        hosted: HostedModel,
        limits: Limits,
        outlet: Outlet[Said],
        metrics: VerifyMetrics,
    ) -> None:
        self._hosted = hosted
        self._verifier = Verifier(hosted.model, hosted.meter, hosted.grammars)
        self._limits = limits
        self._outlet = outlet
        self._metrics = metrics
        self._sessions = Sessions(self._verifier, limits)
        self._scores = Scores(self._verifier.scorer(), limits.max_scores)
        self._over: list[Stream] = []
        self._draining = False
        self._has_read = False
        self._handlers: dict[type, Callable[..., list[Answer]]] = {
            Open: self._open,
            Extend: self._extend,
            Round: self._round,
            Committed: self._committed,
            Close: self._close,
        }

    def handle(self, event: Event) -> None:
        """Takes one request; what it asks for is answered here, or by a later pass."""
        if isinstance(event, StreamOver):
            self._over.append(event.stream)
        elif isinstance(event, Drain):
            self._draining = True
        elif isinstance(event, Score):
            self._queue_score(event)
        elif isinstance(event, LeaveScore):
            self._scores.drop(event.ticket)
        else:
            session_id = event.name.session_id if isinstance(event, Round) else event.session_id
            try:
                answers = self._handlers[type(event)](event)
            except TandemError as error:
                answers = [Refused(session_id, error, self._highest_epoch(event))]
            except Exception as error:
                _log.error("handling a request failed", session_id=session_id, exc_info=error)
                self._sessions.drop(session_id)
                answers = [Refused(session_id, error)]
            stream = None if isinstance(event, Committed | Close) else event.stream
            self._answer(stream, session_id, answers)

    def work(self) -> float | None:
        """One pass over the sessions that are ready."""
        now = time.monotonic()
        for session, answers in self._sessions.expire(now):
            self._answer(None, session.session_id, answers, session)
        self._outlet.flush()
        # Sessions' texts and texts to be scored take turns at the one chunk of a step.
        chunk = 0 if self._scores and self._has_read else CHUNK_TOKENS
        step = next_step(self._sessions.waiting(), now, self._limits.max_batch, chunk)
        if step.rounds:
            self._pass(step.rounds, now)
        if step.reading is not None:
            self._read(*step.reading)
        self._has_read = step.num_read > 0
        self._score(now, may_read=not self._has_read)
        for stream in self._over:
            self._sessions.park_all(stream)
            self._outlet.put((stream, Over()))
        self._over.clear()
        if self._draining:
            self._draining = False
            self._outlet.put(Drained())
        self._outlet.hand_over()
        self._metrics.kv.tell(self._hosted)
        self._metrics.running.set(self._sessions.num_active)
        if self._hosted.meter is not None and not self._sessions.num_active and not self._scores:
            self._hosted.meter.rest()
        if self._scores or self._sessions.waiting():
            return 0.0
        deadline = self._sessions.next_deadline()
        return None if deadline == math.inf else max(0.0, deadline - time.monotonic())

    def linger(self) -> float:
        """A little while, where more rounds are to be expected than have come."""
        return LINGER_SECONDS if self._sessions.expects_more() else 0.0

    @property
    def num_sessions(self) -> int:
        """Sessions being served; may be read from any thread."""
        return self._sessions.num_active

    def close(self) -> None:
        """Frees every sequence."""
        self._sessions.close()
        self._scores.close()
        self._verifier.check_integrity()

    def _pass(self, batch: list[Session], began: float) -> None:
        positions = [session.sequence.position for session in batch]
        try:
            results = self._verifier.judge([(session.sequence, session.proposal) for session in batch])
        except Exception as error:
            _log.error("a pass failed", sessions=[session.session_id for session in batch], exc_info=error)
            self._pass_one_by_one(batch, positions, began, error)
            return
        judged: list[tuple[Outcome, list[Answer] | None]] = []
        for session, result in zip(batch, results, strict=True):
            if isinstance(result, Outcome):
                proposed = session.proposal is not None
                answers = session.judged(result, began)
                judged.append((result, answers if proposed else None))
            else:
                answers = session.failed(result)
            self._answer(None, session.session_id, answers, session)
            if session.alone is not None and not isinstance(result, Outcome):
                self._sessions.park(session)  # nobody will ask for more of it on this stream
        self._outlet.hand_over()
        self._metrics.count_pass(judged)

    def _pass_one_by_one(self, batch: list[Session], positions: list[int], began: float, error: Exception) -> None:
        """After a pass that failed: one row may be to blame, and the others are not to suffer for it."""
        for session, position in zip(batch, positions, strict=True):
            if len(batch) > 1 and session.sequence.position == position:
                session.sequence.distrust_kv()  # whatever state it is in now, nothing is served from it
                self._pass([session], began)
            else:
                self._answer(None, session.session_id, [Refused(session.session_id, error)], session)
                self._sessions.drop(session.session_id)

    def _read(self, session: Session, count: int) -> None:
        """One chunk of a text whose round is still to come."""
        try:
            self._verifier.read(session.sequence, count)
        except TandemError as error:
            self._answer(None, session.session_id, session.failed(error), session)
            if session.alone is not None:
                self._sessions.park(session)
        except Exception as error:
            _log.error("reading a text failed", session_id=session.session_id, exc_info=error)
            session.sequence.distrust_kv()
            self._answer(None, session.session_id, [Refused(session.session_id, error)], session)
            self._sessions.drop(session.session_id)

    def _queue_score(self, event: Score) -> None:
        try:
            self._scores.add(event)
        except TandemError as error:
            self._outlet.put(NotScored(event.ticket, error))

    def _score(self, now: float, *, may_read: bool) -> None:
        """One chunk of the texts that wait to be scored, if it is their turn; when draining, none is waited for."""
        answers: list[Scored | NotScored] = list(self._scores.expire(now))
        if self._draining:
            answers += self._scores.fail_all(Unavailable("this verify replica is draining; ask another one"))
        if self._scores and may_read:
            answers += self._scores.step()
        for answer in answers:
            self._outlet.put(answer)
        self._metrics.count_scores(answers, len(self._scores))

    def _answer(
        self, stream: Stream | None, session_id: str, answers: list[Answer], session: Session | None = None
    ) -> None:
        """Sends answers to the stream that asked, or to the one that a session is served on."""
        if not answers:
            return
        if stream is None:
            session = session or self._sessions.get(session_id)
            stream = session.stream if session is not None else None
        for answer in answers:
            self._metrics.count_answer(answer)
            if stream is not None:
                self._outlet.put((stream, answer))

    # ------------------------------------------------------------------------------------------ requests

    def _highest_epoch(self, event: Open | Extend | Round | Committed | Close) -> int:
        """The highest epoch seen for a session, the request's own included."""
        name = event.name if isinstance(event, Round) else event
        seen = self._sessions.fence(name.session_id)
        return max(name.fence.epoch, seen.epoch if seen is not None else 0)

    def _open(self, event: Open) -> list[Answer]:
        session = self._sessions.get(event.session_id)
        self._check_fence(event.session_id, event.fence)
        if session is not None and session.sequence.decoding != event.decoding:
            if event.fence == session.fence:
                raise InvalidArgument("a session's decoding parameters do not change; open it with those it has")
            self._sessions.drop(event.session_id)
            session = None
        if session is None:
            session = self._sessions.add(event)
            return [session.opened(event), *session.advance()] if not event.stream.decodes else session.advance()
        former = session.stream
        if former is not None and former is not event.stream and event.fence != session.fence:
            lost = Stale("a newer owner has taken the session over")
            self._outlet.put((former, Refused(session.session_id, lost, event.fence.epoch)))
        answers = session.reopen(event)
        self._sessions.wake(session)
        answers += session.advance()
        return answers if event.stream.decodes else [session.opened(event), *answers]

    def _extend(self, event: Extend) -> list[Answer]:
        session = self._owned(event.session_id, event.fence, event.stream)
        if session is None:
            raise InvalidArgument("the session is not open here under this fence; open it with its whole text")
        num_tokens = event.from_position + len(event.token_ids)
        if num_tokens > self._hosted.max_positions:
            raise InvalidArgument(f"{num_tokens} tokens are more than the {self._hosted.max_positions} the model holds")
        return session.extend(event)

    def _round(self, event: Round) -> list[Answer]:
        session = self._owned(event.name.session_id, event.name.fence, event.stream)
        if session is None:
            return [KvMissed(event.name, 0, _NOTHING_HELD)]
        return session.submit(event)

    def _committed(self, event: Committed) -> list[Answer]:
        session = self._sessions.get(event.session_id)
        if session is None or session.fence != event.fence:
            return []
        session.commit(event.position)
        return session.advance()

    def _close(self, event: Close) -> list[Answer]:
        session = self._sessions.get(event.session_id)
        if session is not None and not session.fence.refuses(event.fence):
            if session.sequence.finished:
                self._sessions.drop(event.session_id)
            else:
                self._sessions.park(session)
                session.closed = True
        return []

    def _owned(self, session_id: str, fence: Fence, stream: Stream) -> Session | None:
        """The session in the caller's name, served on the caller's stream from now on.

        None where it is not open here, or not under that fence, or where the target decodes it alone. A round that
        arrives after the close, a late repetition, does not open it again: nobody would close it a second time.
        """
        self._check_fence(session_id, fence)
        session = self._sessions.get(session_id)
        if session is None or session.closed or session.fence != fence or session.alone is not None:
            return None
        if session.stream is not stream:
            session.stream = stream
            self._sessions.wake(session)
        return session

    def _check_fence(self, session_id: str, fence: Fence) -> None:
        seen = self._sessions.fence(session_id)
        if seen is not None and seen.refuses(fence):
            raise Stale(
                f"epoch {fence.epoch} is fenced off here: epoch {seen.epoch} was seen"
                + (" with another owner's nonce" if seen.epoch == fence.epoch else "")
            )
