"""The actor that owns the draft model: all leases that are ready, one batch of drafting, proposals out; and again."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from draft_service.events import (
    CloseAtVerify,
    Committed,
    Drain,
    Drained,
    Ended,
    Event,
    Grant,
    Judged,
    LeaseStream,
    Missed,
    Outgoing,
    Over,
    Release,
    StreamOver,
    ToOrchestrator,
    ToVerify,
    VerifyLost,
    VerifyRefused,
    VerifyRequest,
)
from draft_service.lease import Lease
from draft_service.metrics import DraftMetrics
from tandem.decoding.values import Fence, Proposal
from tandem.engine.hosting import HostedModel
from tandem.engine.proposer import DraftSequence, Proposer
from tandem.engine.scheduler import next_step
from tandem.errors import (
    DeadlineExceeded,
    InvalidArgument,
    InvariantBroken,
    OutOfKV,
    Overloaded,
    RowFailed,
    Stale,
    TandemError,
    Unavailable,
)
from tandem.model_thread import Outlet
from tandem.telemetry import logger

_log = logger("draft_service")

LINGER_SECONDS = 0.0003
"""How long drafting waits for one more verdict, while other sessions' rounds are out."""

DRAIN_SECONDS = 2.0
"""How long a drain waits for verdicts that are out."""

MAX_FENCES = 65536
"""Fences remembered of sessions that are gone."""

_REPLICA_FAILED = (Unavailable, DeadlineExceeded, Overloaded, OutOfKV, RowFailed, InvariantBroken)
"""Refusals by a verify replica that speak against the replica rather than against the request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on."""

    max_leases: int = 1024
    """Sessions leased at once; over it, grants are refused for now."""
    max_warm: int = 256
    """Texts of ended leases that are kept in case the session comes back."""
    max_batch: int = 64
    """Sessions drafted for in one batch."""
    round_timeout_seconds: float = 30.0
    """For grants that name none."""


class Drafter:
    """Keeps the leases and drafts for them. Runs in the model thread."""

    def __init__(self, hosted: HostedModel, limits: Limits, outlet: Outlet[Outgoing], metrics: DraftMetrics) -> None:
        self._hosted = hosted
        self._proposer = Proposer(hosted.model, hosted.meter, hosted.grammars)
        self._limits = limits
        self._outlet = outlet
        self._metrics = metrics
        self._leases: dict[str, Lease] = {}
        self._warm: OrderedDict[str, DraftSequence] = OrderedDict()
        self._fences: OrderedDict[str, Fence] = OrderedDict()
        self._outcomes: list[ToOrchestrator] = []
        self._drain_until = math.inf
        self._drained = False
        self._handlers: dict[type, Callable[..., None]] = {
            Grant: self._grant,
            Committed: self._commit,
            Release: self._release,
            StreamOver: self._stream_over,
            Drain: self._drain,
            Judged: self._judged,
            Missed: self._missed,
            VerifyRefused: self._verify_refused,
            VerifyLost: self._verify_lost,
        }

    @property
    def num_leases(self) -> int:
        """Sessions leased; may be read from any thread."""
        return len(self._leases)

    def handle(self, event: Event) -> None:
        """Takes one event."""
        try:
            self._handlers[type(event)](event)
        except Exception as error:
            _log.error("handling an event failed", kind=type(event).__name__, exc_info=error)
            named = getattr(event, "name", event)
            lease = self._leases.get(getattr(named, "session_id", ""))
            if lease is not None:
                self._end(lease, error)
                self._forget(lease.session_id)

    def work(self) -> float | None:
        """One batch of drafting for the leases that are ready."""
        now = time.monotonic()
        for lease in [lease for lease in self._leases.values() if lease.next_deadline <= now]:
            overdue = lease.overdue(now)
            if overdue is not None:
                self._end(lease, overdue[0], verify_failed=overdue[1])
        step = next_step(self._ready(), now, self._limits.max_batch)
        batch = step.rounds
        # Outcomes go out before the next drafts are made. But where one session is all there is, sending its outcome
        # would take the interpreter from the thread that drafts: it goes out while the verify replica is at work.
        if len(self._leases) > 1 or not batch or batch[0].is_young:
            self._send_outcomes()
            self._outlet.flush()
        if self._draining:
            self._work_off(now)
        else:
            if batch:
                self._draft(batch)
            if step.reading is not None:
                self._read(*step.reading)
        self._send_outcomes()
        self._outlet.hand_over()
        self._metrics.sessions.set(len(self._leases))
        self._metrics.kv.tell(self._hosted)
        if self._hosted.meter is not None and not self._leases:
            self._hosted.meter.rest()
        if not self._draining and self._ready():
            return 0.0
        deadline = min((lease.next_deadline for lease in self._leases.values()), default=math.inf)
        if not self._drained:
            deadline = min(deadline, self._drain_until)
        return None if deadline == math.inf else max(0.0, deadline - time.monotonic())

    def linger(self) -> float:
        """A little while, where a lease is ready and others' verdicts are out."""
        return (
            LINGER_SECONDS if self._ready() and any(lease.asked is not None for lease in self._leases.values()) else 0.0
        )

    def close(self) -> None:
        """Frees every sequence."""
        for sequence in [*self._warm.values(), *(lease.sequence for lease in self._leases.values())]:
            self._proposer.close(sequence)
        self._warm.clear()
        self._leases.clear()
        self._proposer.check_integrity()

    def _ready(self) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.is_ready]

    def _read(self, lease: Lease, count: int) -> None:
        """One chunk of a text whose round is still to come."""
        try:
            self._proposer.read(lease.sequence, count)
        except TandemError as error:
            self._end(lease, error)
        except Exception as error:
            _log.error("reading a text failed", session_id=lease.session_id, exc_info=error)
            lease.sequence.distrust_kv()
            self._end(lease, error)
            self._forget(lease.session_id)

    def _draft(self, batch: list[Lease]) -> None:
        began = time.monotonic()
        try:
            results = self._proposer.propose([lease.sequence for lease in batch])
        except Exception as error:
            _log.error("drafting failed", sessions=[lease.session_id for lease in batch], exc_info=error)
            if len(batch) == 1:
                self._end(batch[0], error)
                self._forget(batch[0].session_id)
            else:  # one row may be to blame, and the others are not to suffer for it
                for lease in batch:
                    lease.sequence.distrust_kv()  # whatever state it is in now, nothing is drafted from it
                    self._draft([lease])
            return
        seconds = time.monotonic() - began
        for lease, result in zip(batch, results, strict=True):
            if isinstance(result, Proposal):
                self._metrics.count_drafted(result.tree.depth, lease.wanted_depth, began - lease.ready_since)
                self._outlet.put(ToVerify(lease.grant.verify_address, lease.ask(result)))
            else:
                self._end(lease, result)
        self._send_outcomes()
        self._outlet.hand_over()
        self._metrics.draft_seconds.observe(seconds)
        self._metrics.batch_size.observe(len(batch))

    # ------------------------------------------------------------------------------------- from orchestrators

    def _grant(self, grant: Grant) -> None:
        try:
            self._check_fence(grant)
            lease = self._open(grant)
        except TandemError as error:
            seen = self._fence(grant.session_id)
            self._say(grant.stream, Ended(grant.session_id, error, seen.epoch if seen is not None else 0))
            return
        former = self._leases.pop(grant.session_id, None)
        if former is not None:
            if former.grant.stream is not grant.stream:
                lost = Stale("a newer owner has taken the session over")
                self._say(former.grant.stream, Ended(grant.session_id, lost, grant.fence.epoch))
            if former.grant.verify_address != grant.verify_address:
                self._tell_verify(former, CloseAtVerify(former.session_id, former.fence))
        self._leases[grant.session_id] = lease
        self._fences.pop(grant.session_id, None)
        # The first round need not wait for `opened`: the stream keeps the order.
        self._tell_verify(lease, lease.opening())

    def _open(self, grant: Grant) -> Lease:
        if self._draining:
            raise Unavailable("this draft replica is draining; place the session on another one")
        former = self._leases.get(grant.session_id)
        if former is None and len(self._leases) >= self._limits.max_leases:
            raise Overloaded(f"{self._limits.max_leases} sessions are leased here; no more are taken now")
        sequence = former.sequence if former is not None else self._warm.get(grant.session_id)
        if sequence is not None and sequence.decoding == grant.decoding:
            sequence.replace_text(grant.token_ids)
        else:
            opened = self._proposer.open(grant.token_ids, grant.decoding)
            if sequence is not None:
                self._proposer.close(sequence)
            sequence = opened
        self._warm.pop(grant.session_id, None)
        return Lease(grant, sequence, grant.round_timeout_seconds or self._limits.round_timeout_seconds)

    def _commit(self, event: Committed) -> None:
        lease = self._leases.get(event.session_id)
        if lease is not None and lease.fence == event.fence:
            lease.commit(event.position)

    def _release(self, event: Release) -> None:
        lease = self._leases.get(event.session_id)
        if lease is not None and not lease.fence.refuses(event.fence):
            self._let_go(lease)

    def _stream_over(self, event: StreamOver) -> None:
        for lease in [lease for lease in self._leases.values() if lease.grant.stream is event.stream]:
            self._let_go(lease)
        self._say(event.stream, Over())

    def _drain(self, _: Drain) -> None:
        self._drain_until = time.monotonic() + DRAIN_SECONDS

    # ----------------------------------------------------------------------------------- from verify replicas

    def _judged(self, event: Judged) -> None:
        lease = self._leases.get(event.name.session_id)
        if lease is None:
            return
        try:
            if max(event.outcome.token_ids, default=0) >= self._hosted.vocab_size:
                raise InvalidArgument(
                    f"the target appended an id that the draft model lacks (its ids are below "
                    f"{self._hosted.vocab_size}); the pair does not fit"
                )
            done = lease.judged(event)
        except TandemError as error:
            self._end(lease, error, verify_failed=isinstance(error, InvariantBroken))
            return
        if done is not None:
            self._metrics.verify_seconds.observe(done.outcome.timings.verify_round_trip_seconds)
            self._outcomes.append(ToOrchestrator(lease.grant.stream, done))

    def _missed(self, event: Missed) -> None:
        lease = self._leases.get(event.name.session_id)
        if lease is None:
            return
        self._metrics.kv_misses.inc()
        try:
            for request in lease.supply(event):
                self._tell_verify(lease, request)
        except Unavailable as error:
            self._end(lease, error, verify_failed=True)

    def _verify_refused(self, event: VerifyRefused) -> None:
        lease = self._leases.get(event.session_id)
        if lease is None or lease.grant.verify_address != event.address:
            return
        if 0 < event.highest_epoch < lease.fence.epoch:
            return  # said to a former owner's request, before this lease's
        error = event.error
        if isinstance(error, DeadlineExceeded) and lease.is_past_its_deadline(time.monotonic()):
            self._end(lease, error)
            return
        failed = isinstance(error, _REPLICA_FAILED)
        if isinstance(error, DeadlineExceeded):
            error = Unavailable(f"{event.address}: {error}")
        self._end(lease, error, verify_failed=failed, highest_epoch=event.highest_epoch)

    def _verify_lost(self, event: VerifyLost) -> None:
        for lease in [lease for lease in self._leases.values() if lease.grant.verify_address == event.address]:
            error = Unavailable(f"the verify replica {event.address} is lost: {event.error}")
            # The replica is told where a new stream is open: a round that was on its way may have opened the session.
            self._end(lease, error, verify_failed=True)

    # ----------------------------------------------------------------------------------------------- endings

    @property
    def _draining(self) -> bool:
        return self._drain_until < math.inf

    def _work_off(self, now: float) -> None:
        """While draining: a lease ends once no verdict is out for it; all end when time is up."""
        for lease in list(self._leases.values()):
            if lease.asked is None or now >= self._drain_until:
                self._end(lease, Unavailable("this draft replica is draining; place the session on another one"))
        if not self._leases and not self._drained:
            self._drained = True
            self._outlet.put(Drained())

    def _end(
        self,
        lease: Lease,
        error: Exception,
        *,
        verify_failed: bool = False,
        highest_epoch: int = 0,
    ) -> None:
        """Ends a lease before its text has ended, and says why."""
        _log.info("lease ended", session_id=lease.session_id, verify_failed=verify_failed, reason=str(error))
        self._say(
            lease.grant.stream,
            Ended(lease.session_id, error, max(highest_epoch, lease.fence.epoch), verify_failed),
        )
        self._metrics.leases_ended.labels("verify" if verify_failed else "here").inc()
        self._let_go(lease)

    def _let_go(self, lease: Lease) -> None:
        """Ends a lease quietly; its text is kept warm for a while."""
        if self._leases.pop(lease.session_id, None) is None:
            return
        self._tell_verify(lease, CloseAtVerify(lease.session_id, lease.fence))
        self._fences[lease.session_id] = lease.fence
        if len(self._fences) > MAX_FENCES:
            self._fences.popitem(last=False)
        self._warm[lease.session_id] = lease.sequence
        if len(self._warm) > self._limits.max_warm:
            self._proposer.close(self._warm.popitem(last=False)[1])

    def _forget(self, session_id: str) -> None:
        sequence = self._warm.pop(session_id, None)
        if sequence is not None:
            self._proposer.close(sequence)

    def _fence(self, session_id: str) -> Fence | None:
        lease = self._leases.get(session_id)
        return lease.fence if lease is not None else self._fences.get(session_id)

    def _check_fence(self, grant: Grant) -> None:
        seen = self._fence(grant.session_id)
        if seen is not None and seen.refuses(grant.fence):
            raise Stale(f"epoch {grant.fence.epoch} is fenced off here: epoch {seen.epoch} was seen")

    def _say(self, stream: LeaseStream, answer: Ended | Over) -> None:
        self._send_outcomes()  # what was done comes before the end
        self._outlet.put(ToOrchestrator(stream, answer))

    def _send_outcomes(self) -> None:
        for outcome in self._outcomes:
            self._outlet.put(outcome)
        self._outcomes.clear()

    def _tell_verify(self, lease: Lease, request: VerifyRequest) -> None:
        self._outlet.put(ToVerify(lease.grant.verify_address, request))
