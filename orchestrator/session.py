"""The life of a session while somebody follows it: placed, run, committed round by round, moved when a part fails."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from orchestrator.committed_text import CommittedText
from orchestrator.events import Committed, Event, Finished, Started
from orchestrator.leases import Judged, Lease, LeaseOver, Work
from orchestrator.links import DraftLink, VerifyLink
from orchestrator.metrics import Metrics
from orchestrator.placement import Placement
from orchestrator.records import KvReference, SessionRecord
from orchestrator.session_store import CommitAnswer, SessionStore
from tandem.cut import Cut
from tandem.decoding.methods import method
from tandem.decoding.values import Fence, Outcome, RoundName
from tandem.errors import (
    Cancelled,
    DataLoss,
    InvalidArgument,
    InvariantBroken,
    NotFound,
    OutOfKV,
    Overloaded,
    RowFailed,
    Stale,
    TandemError,
    Unavailable,
)
from tandem.generation import FinishReason
from tandem.telemetry import logger
from tandem.tokenization import Tokenizer

LONGEST_BACKOFF_SECONDS = 1.0
STORE_RETRY_SECONDS = 0.1
FOREVER = float("inf")

DRAFTING_FAILURES = 3
"""Placements in a row that came to nothing, after which a session does without its draft replica for a while."""

_HOPELESS = (InvalidArgument, RowFailed, InvariantBroken, DataLoss)
"""What a replica that failed so will fail with again."""

Links = tuple[VerifyLink] | tuple[VerifyLink, DraftLink]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a session waits for what, in seconds, and how often it starts anew."""

    recovery_seconds: float = 60.0
    """For a lost verify replica, or the store, to come back."""
    max_recoveries: int = 8
    """Placements in a row without a single token committed."""
    round_timeout_seconds: float = 30.0
    lease_seconds: float = 120.0
    avoid_seconds: float = 5.0
    """A replica that failed a session is not its first choice for so long."""

    @property
    def silence_seconds(self) -> float:
        """A replica that says nothing for so long is lost: it should have told of a missed round by itself."""
        return self.round_timeout_seconds + 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions share."""

    store: SessionStore
    placement: Placement
    tokenizer: Tokenizer
    metrics: Metrics
    patience: Patience


class Session:
    """One session, followed by one stream. Whoever follows it iterates over `events`, and calls `release` at the end.

    Nothing of it outlives its stream but the store's record, from which it can be taken up anywhere.
    """

    def __init__(
        self,
        record: SessionRecord,
        around: Surroundings,
        *,
        arrived: float,
        deadline: float | None = None,
        is_new: bool = True,
    ) -> None:
        """Times are by `time.monotonic`. A new session is written to the store once its first replicas are chosen."""
        self.session_id = record.session_id
        self.text = CommittedText(record, around.tokenizer)
        self._record = record
        self._around = around
        self.arrived = arrived
        self._deadline = deadline
        self._is_new = is_new
        self._fence = record.fence
        self._highest_epoch = record.fence.epoch
        self._drafted = not method(record.setup.decoding.speculation.method).target_only
        self._finished: Finished | None = None
        self._interruption: TandemError | None = None
        self._lease: Lease | None = None
        self._links: Links | tuple[()] = ()
        self._last_addresses = {reference.address for reference in record.kv_references}
        self._avoided: dict[str, float] = {}  # address -> until when
        self._refused: dict[str, float] = {}
        self._num_failures = 0
        self._num_tokens_before = self.text.usage.completion_tokens
        self._first_token_at = self._last_token_at = arrived
        self._log = logger("orchestrator.session").bind(session_id=record.session_id)

    @property
    def fence(self) -> Fence:
        """The fence in whose name the session runs."""
        return self._fence

    @property
    def is_finished(self) -> bool:
        """The text has ended, or the session is no longer this stream's."""
        return self._finished is not None

    async def events(self) -> AsyncGenerator[Event]:
        """Runs the session: `Started`, the text as it is committed, `Finished`.

        Raises:
            Unavailable: no replica or no store, for longer than patience allows. Overloaded, OutOfKV: no room.
            Stale: somebody else continues the session. DataLoss: committed tokens were lost.
            RowFailed, InvalidArgument: the verify service refused it.
        """
        if self._record.ended is None:
            await self._place()
        else:
            self._finish(self._record.ended, self._record.stop)
        setup = self._record.setup
        yield Started(self.session_id, self._record.token_ids[: setup.prompt_length], setup.decoding)
        position, characters = self.text.show_rest()
        if position < self.text.position:
            tokens = tuple(self.text.token_ids[position:])
            yield Committed(position, self.text.digest, tokens, characters, self.text.log_probs(position))
        while self._finished is None:
            step = await self._step()
            if step is not None:
                yield step
            if self._finished is None and (self._lease is None or self._can_draft_again()):
                await self._place()
        yield self._finished

    def interrupt(self, error: TandemError) -> None:
        """Has the stream end with ``error`` at its next step; `Cancelled`: has it look whether the text has ended."""
        self._interruption = error
        if self._lease is not None:
            self._lease.interrupt(error)
        self._around.placement.wake()

    def release(self, *, tell: bool = True) -> None:
        """Takes the session back from its replicas. Safe to repeat."""
        lease, self._lease = self._lease, None
        links, self._links = self._links, ()
        if lease is not None:
            lease.release(tell=tell)
        for link in links:
            link.num_sessions -= 1

    # ------------------------------------------------------------------------------------------------------ placing

    async def _place(self) -> None:
        """Puts the session on replicas, under a raised epoch unless it is new. May find that it has ended."""
        while self._finished is None:
            links = await self._choose()
            if links is None:
                return
            # A verify replica that the session stays at keeps its KV: the newer fence takes over what it holds.
            self.release(tell=links[0] not in self._links)
            self._hold(links)
            if self._is_new:
                references = self._references(links, self._fence)
                await self._around.store.create(replace(self._record, kv_references=references))
                self._is_new = False
            elif not await self._raise_epoch(links):
                return
            try:
                self._lease = self._grant(*links)
            except Unavailable:
                continue  # it was lost in between
            return

    def _hold(self, links: Links) -> None:
        # Counted before anything is awaited, so that sessions which begin together see one another.
        self._links = links
        self._last_addresses = {link.address for link in links}
        for link in links:
            link.num_sessions += 1

    async def _choose(self) -> tuple[VerifyLink] | tuple[VerifyLink, DraftLink] | None:
        """A verify replica, and a draft replica where one can be had. None: the text has ended meanwhile."""
        placement, patience = self._around.placement, self._around.patience
        avoided, refused = _current(self._avoided), _current(self._refused)

        def find() -> VerifyLink | None:
            return placement.verify_for(self._record.setup.target, self._last_addresses, avoided)

        verify = find()
        if verify is None:
            self._around.metrics.waiting.inc()
            try:
                await placement.wait(lambda: bool(find() or self._interruption), patience.recovery_seconds)
            finally:
                self._around.metrics.waiting.dec()
            if await self._is_interrupted():
                return None
            verify = find()
        if verify is None:
            raise Unavailable(placement.why_no_verify())
        draft = placement.draft_for(self._last_addresses, avoided, refused) if self._drafted else None
        return (verify,) if draft is None else (verify, draft)

    def _grant(self, verify: VerifyLink, draft: DraftLink | None = None) -> Lease:
        work = Work(self.session_id, self._fence, self._record.setup.decoding, tuple(self.text.token_ids))
        patience = self._around.patience
        remaining = self._remaining()
        if draft is None:
            return verify.decode(work, remaining)
        round_timeout = min(patience.round_timeout_seconds, remaining or FOREVER)
        return draft.grant(work, verify.address, patience.lease_seconds, round_timeout)

    def _remaining(self) -> float:
        """Seconds until the request's deadline; 0 where it has none."""
        return 0.0 if self._deadline is None else max(0.001, self._deadline - time.monotonic())

    def _can_draft_again(self) -> bool:
        """Whether the target decodes alone although a draft replica is there by now."""
        decodes_alone = self._drafted and len(self._links) == 1
        return decodes_alone and self._around.placement.draft_for(refused=_current(self._refused)) is not None

    def _references(self, links: Links, fence: Fence) -> tuple[KvReference, ...]:
        return tuple(KvReference(link.role, link.address, self.text.position, fence.epoch) for link in links)

    async def _raise_epoch(self, links: Links) -> bool:
        """Moves the session's fence past every epoch known. False: the text has ended meanwhile."""
        raised = Fence(max(self._fence.epoch, self._highest_epoch) + 1, secrets.token_bytes(16))
        references = self._references(links, raised)
        store = self._around.store
        give_up = time.monotonic() + self._around.patience.recovery_seconds
        while True:
            try:
                await store.raise_epoch(self.session_id, self._fence, raised, references)
            except Unavailable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(STORE_RETRY_SECONDS)
                continue
            except NotFound:
                self._log.warning("the store lost the session; writing it back")
                await store.restore(self.text.record(raised))
            except Stale:
                # Ended, moved, or raised by us in a call whose answer was lost.
                if not await self._is_held_by(raised):
                    return False
            self._fence = raised
            return True

    # --------------------------------------------------------------------------------------------------- committing

    async def _step(self) -> Committed | None:
        """Waits for one outcome and commits it, or deals with the end of the lease. None: nothing to show."""
        assert self._lease is not None
        if await self._is_interrupted():
            return None
        event = await self._lease.next(self._around.patience.silence_seconds)
        shown = await self._commit(event) if isinstance(event, Judged) else event
        if isinstance(shown, LeaseOver):
            await self._lost(shown)
            return None
        # The watermark goes first: the next rounds are drafted while this one is on its way to the client.
        if self._finished is not None:
            self.release()
        else:
            self._lease.committed(self.text.position)
        return shown

    async def _commit(self, judged: Judged) -> Committed | LeaseOver | None:
        """Commits an outcome. None: it had been committed before, or the session has ended elsewhere."""
        name = judged.name
        if name.position < self.text.position:
            answer = await self._ask_store(name, judged.outcome, Cut(0, ""))
            return None if answer.kind == "duplicate" else self._misfit()
        if not self.text.continues(name, judged.outcome):
            return self._misfit()
        outcome, cut = self.text.cut(judged.outcome)
        began = time.perf_counter()
        answer = await self._ask_store(name, outcome, cut)
        if answer.kind == "gap":
            self._log.warning("the store lost committed tokens; writing them back", stored=answer.position)
            await self._around.store.restore(self.text.record(self._fence))
            answer = await self._ask_store(name, outcome, cut)
        if answer.kind == "stale":
            if await self._is_held_by(self._fence):
                raise InvariantBroken("the store refused a commit of the session's owner")
            return None
        if answer.kind == "gap" or (answer.kind == "duplicate" and answer.token_ids != outcome.token_ids):
            raise DataLoss(f"the store has another text than session {self.session_id}")
        return self._committed(outcome, cut, time.perf_counter() - began)

    def _committed(self, outcome: Outcome, cut: Cut, commit_seconds: float) -> Committed:
        metrics = self._around.metrics
        metrics.commit_seconds.observe(commit_seconds)
        metrics.count_committed(outcome)
        self._last_token_at = time.monotonic()
        if self.text.usage.completion_tokens == self._num_tokens_before:
            self._first_token_at = self._last_token_at
            metrics.first_token.observe(self._first_token_at - self.arrived)
        position = self.text.position
        self.text.append(outcome)
        self._num_failures = 0
        if cut.ended is not None:
            self._finish(cut.ended, cut.stop)
        traced = None
        if self._record.setup.decoding.trace:
            traced = replace(outcome, timings=replace(outcome.timings, commit_seconds=commit_seconds))
        return Committed(position, self.text.digest, outcome.token_ids, cut.text, outcome.log_probs, traced)

    async def _ask_store(self, name: RoundName, outcome: Outcome, cut: Cut) -> CommitAnswer:
        """Commits, and asks again while the store is away: what is repeated is answered as the first time."""
        metrics = self._around.metrics
        give_up = time.monotonic() + self._around.patience.recovery_seconds
        while True:
            try:
                answer = await self._around.store.commit(name, outcome, cut.ended, cut.stop)
            except Unavailable:
                metrics.commits["failed"].inc()
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(STORE_RETRY_SECONDS)
                if self._interruption is not None:
                    raise self._interruption from None
            else:
                metrics.commits[answer.kind].inc()
                return answer

    def _misfit(self) -> LeaseOver:
        assert self._lease is not None
        return LeaseOver(Unavailable(f"{self._lease.replica.name} reported a round of another text"))

    # --------------------------------------------------------------------------------------------------- recovering

    async def _lost(self, over: LeaseOver) -> None:
        """Decides what the end of a lease means: another try, the text's end, or the request's failure."""
        if await self._is_interrupted():
            return
        error, links = over.error, self._links
        self.release()
        if isinstance(error, Stale):
            if not await self._is_held_by(self._fence):
                return
            self._highest_epoch = max(self._highest_epoch, over.highest_epoch)
        elif isinstance(error, _HOPELESS) and over.at_verify:
            raise error
        self._num_failures += 1
        self._around.metrics.recoveries.labels(type(error).__name__).inc()
        self._log.info("placing the session anew", cause=str(error), failures=self._num_failures)
        self._avoid(links, over)
        if self._num_failures > self._around.patience.max_recoveries:
            if isinstance(error, Overloaded | OutOfKV):
                raise error
            raise Unavailable(f"no replica could continue the session; the last reason: {error}")
        if self._num_failures > 1:
            await asyncio.sleep(min(0.05 * 2.0**self._num_failures, LONGEST_BACKOFF_SECONDS))

    def _avoid(self, links: Links | tuple[()], over: LeaseOver) -> None:
        """Notes which replicas are not the next choice; a draft replica is left out before it fails a request."""
        until = time.monotonic() + self._around.patience.avoid_seconds
        for link in links:
            if over.at_verify == (link.role == "verify"):
                self._avoided[link.address] = until
            if link.role == "draft" and isinstance(over.error, _HOPELESS):
                self._refused[link.address] = FOREVER
            elif link.role == "draft" and self._num_failures >= DRAFTING_FAILURES:
                self._refused[link.address] = until

    async def _is_interrupted(self) -> bool:
        """Whether the text has ended from outside. Raises the error that the stream is to end with, if any."""
        interruption, self._interruption = self._interruption, None
        if interruption is None:
            return False
        if not isinstance(interruption, Cancelled):
            raise interruption
        return not await self._is_held_by(self._fence)

    async def _is_held_by(self, fence: Fence) -> bool:
        """Whether the session goes on under ``fence``. Sets `_finished` when it has ended.

        Raises:
            Stale: somebody else continues it.
        """
        try:
            record = await self._around.store.read(self.session_id)
        except NotFound:
            return True  # the store lost it; the next step writes it back
        if record.ended is not None:
            self._finish(record.ended, record.stop)
            return False
        if record.fence != fence:
            raise Stale("the session is continued by another stream, which took it over")
        return True

    def _finish(self, reason: FinishReason, stop: str) -> None:
        new_tokens = self.text.usage.completion_tokens - self._num_tokens_before
        first = self._first_token_at - self.arrived
        usage = self.text.usage.usage(first, self._last_token_at - self.arrived)
        if self._num_tokens_before:  # a resumed stream times only what it made itself
            rest = self._last_token_at - self._first_token_at
            usage = replace(usage, time_per_output_token_seconds=rest / (new_tokens - 1) if new_tokens > 1 else 0.0)
        self._finished = Finished(reason, usage, stop)


def _current(untils: dict[str, float]) -> frozenset[str]:
    """The addresses whose time has not passed."""
    now = time.monotonic()
    return frozenset(address for address, until in untils.items() if until > now)
