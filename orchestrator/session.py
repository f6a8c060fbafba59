"""The life of a session while somebody follows it: placed, run, committed round by round, moved when a part fails."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from orchestrator.access.principal import ANYONE, Principal
from orchestrator.claim import Claim, Place, TextEnded
from orchestrator.committed_text import CommittedText
from orchestrator.events import Committed, Event, Finished, Started
from orchestrator.leases import Judged, Lease, LeaseOver, Work
from orchestrator.links import Link
from orchestrator.metrics import Metrics
from orchestrator.placement import Placement
from orchestrator.records import SessionRecord
from orchestrator.replicas import DraftLink, VerifyLink
from orchestrator.session_store import SessionStore
from orchestrator.slowness import Slowness, load
from orchestrator.standing import HOPELESS, Standing
from tandem.cut import Cut
from tandem.decoding.methods import method
from tandem.decoding.values import Decoding, Outcome
from tandem.errors import Cancelled, DeadlineExceeded, OutOfKV, Overloaded, Stale, TandemError, Unavailable
from tandem.generation import FinishReason
from tandem.retry_budget import RetryBudget
from tandem.telemetry import logger
from tandem.tokenization import Tokenizer

LONGEST_BACKOFF_SECONDS = 1.0

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
        return self.round_timeout_seconds + min(5.0, self.round_timeout_seconds)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions share."""

    store: SessionStore
    placement: Placement
    tokenizer: Tokenizer
    metrics: Metrics
    patience: Patience
    slowness: Slowness
    retries: RetryBudget = field(default_factory=RetryBudget)
    """Of placements that full replicas refused."""


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
        principal: Principal = ANYONE,
    ) -> None:
        """Times are by `time.monotonic`. A new session is written to the store once its first replicas are chosen."""
        self.session_id = record.session_id
        self.arrived = arrived
        self.principal = principal
        """Who follows it."""
        self.text = CommittedText(record, around.tokenizer)
        self.claim = Claim(record, around.store, around.metrics, around.patience.recovery_seconds)
        self._record = record
        self._around = around
        self._deadline = deadline
        self._is_new = is_new
        chosen = method(record.setup.decoding.speculation.method)
        self._drafted = not chosen.target_only
        greedy = record.setup.decoding.sampling.temperature == 0
        self._depends_on_drafter = self._drafted and not (chosen.drafting.coupled or (chosen.lossless and greedy))
        self._finished: Finished | None = None
        self._interruption: TandemError | None = None
        self._lease: Lease | None = None
        self._links: Links | tuple[()] = ()
        self._begins = True
        """Nothing has come of its present lease yet."""
        self._load = 0
        """On each of the links."""
        self._last_addresses = {reference.address for reference in record.kv_references}
        self._standing = Standing(around.patience.avoid_seconds, around.patience.max_recoveries)
        self._num_tokens_before = self.text.usage.completion_tokens
        self._first_token_at = self._last_token_at = arrived
        self._log = logger("orchestrator.session").bind(session_id=record.session_id)

    @property
    def prompt_token_ids(self) -> tuple[int, ...]:
        """The prompt as the target reads it."""
        return self._record.token_ids[: self._record.setup.prompt_length]

    @property
    def decoding(self) -> Decoding:
        """All that decides its text."""
        return self._record.setup.decoding

    @property
    def target(self) -> str | None:
        """Digest of the weights of the target that it runs on; None where it may be any."""
        return self._record.setup.target or None

    @property
    def is_finished(self) -> bool:
        """The text has ended."""
        return self._finished is not None

    async def events(self) -> AsyncGenerator[Event]:
        """Runs the session: `Started`, the text as it is committed, `Finished`.

        Raises:
            Unavailable: no replica or no store, for longer than patience allows. Overloaded, OutOfKV: no room.
            Stale: somebody else continues the session. DataLoss: committed tokens were lost.
            RowFailed, InvalidArgument: the verify service refused it.
        """
        if self._record.ended is None:
            await self._ensure_placed()
        else:
            self._finish(self._record.ended, self._record.stop)
        yield Started(self.session_id, self.prompt_token_ids, self.decoding)
        position, characters = self.text.show_rest()
        if position < self.text.position:
            tokens = tuple(self.text.token_ids[position:])
            yield Committed(
                position,
                self.text.digest,
                tokens,
                characters,
                self.text.log_probs(position),
                top_log_probs=self.text.top_log_probs(position),
            )
        while self._finished is None:
            shown = await self._step()
            if shown is not None:
                yield shown
            await self._ensure_placed()
        yield self._finished

    def interrupt(self, error: TandemError) -> None:
        """Has the stream end with ``error`` at its next step; `Cancelled`: has it look whether the text has ended."""
        self._interruption = error
        if self._lease is not None:
            self._lease.interrupt(error)
        self._around.placement.wake()

    def release(self) -> None:
        """Takes the session back from its replicas. Safe to repeat."""
        self._let_go(tell=True)
        self._around.slowness.arrived(self.session_id)

    def _let_go(self, *, tell: bool) -> None:
        lease, self._lease = self._lease, None
        links, self._links = self._links, ()
        if lease is not None:
            lease.release(tell=tell)
        for link in links:
            link.give_back(self._load)

    # ------------------------------------------------------------------------------------------------------ placing

    async def _ensure_placed(self) -> None:
        """Places the session where it has no lease, or better than where a replica leaves, is slow, or is missing."""
        if self._finished is None and (self._lease is None or self._can_draft_again() or self._leaves()):
            try:
                await self._place()
            except TextEnded as ended:
                self._finish(ended.reason, ended.stop)

    async def _place(self) -> None:
        """Puts the session on replicas, under a raised epoch unless it is new."""
        while True:
            links = await self._choose()
            # Where the session only gets a drafter as well, the newer fence takes over what the verify replica holds.
            self._let_go(tell=not set(self._links) <= set(links))
            # Counted before anything is awaited, so that sessions which begin together see one another.
            self._links = links
            self._last_addresses = {link.address for link in links}
            self._load = load(self._record.setup.decoding, self.text.position)
            for link in links:
                link.take(self._load)
            places = [Place(link.role, link.address) for link in links]
            if self._is_new:
                await self.claim.create(self._record, places)
                self._is_new = False
            else:
                await self.claim.raise_epoch(self.text, places)
            try:
                self._lease = self._grant(*links)
                self._begins = True
                return
            except Unavailable:
                continue  # it was lost in between

    async def _choose(self) -> Links:
        """A verify replica, and a draft replica where one can be had."""
        placement, standing = self._around.placement, self._standing
        verify = self._find_verify()
        if verify is None:
            self._around.metrics.waiting.inc()
            try:
                seconds = self._around.patience.recovery_seconds
                await placement.wait(lambda: bool(self._find_verify() or self._interruption), seconds)
            finally:
                self._around.metrics.waiting.dec()
            await self._heed_interruption()
            verify = self._find_verify()
        if verify is None:
            raise Unavailable(placement.why_no_verify())
        if not self._drafted:
            return (verify,)

        # Some texts go on otherwise without a drafter. One whose connection was only cut is not worth that.
        if self._depends_on_drafter and self._find_draft() is None:
            seconds = placement.draft_in_seconds(standing.refused)
            await placement.wait(lambda: bool(self._find_draft() or self._interruption), seconds)
            await self._heed_interruption()
        draft = self._find_draft()
        return (verify,) if draft is None else (verify, draft)

    def _find_verify(self) -> VerifyLink | None:
        avoided = self._standing.avoided
        return self._around.placement.verify_for(self._record.setup.target, self._last_addresses, avoided)

    def _find_draft(self) -> DraftLink | None:
        standing = self._standing
        return self._around.placement.draft_for(self._last_addresses, standing.avoided, standing.refused)

    def _grant(self, verify: VerifyLink, draft: DraftLink | None = None) -> Lease:
        work = Work(self.session_id, self.claim.fence, self._record.setup.decoding, tuple(self.text.token_ids))
        patience = self._around.patience
        remaining = 0.0 if self._deadline is None else max(0.001, self._deadline - time.monotonic())
        if draft is None:
            return verify.decode(work, remaining)
        return draft.grant(work, verify.address, patience.lease_seconds, patience.round_timeout_seconds, remaining)

    def _can_draft_again(self) -> bool:
        """Whether the target decodes alone although a draft replica is there by now."""
        decodes_alone = self._drafted and len(self._links) == 1
        return decodes_alone and self._around.placement.draft_for(refused=self._standing.refused) is not None

    def _leaves(self) -> bool:
        """Whether it is to move now, from a replica that is on its way out or slow."""
        return self._leaves_leaving() or self._leaves_slow()

    def _leaves_leaving(self) -> bool:
        for link in self._links:
            if link.is_leaving and (self._find_verify() if link.role == "verify" else self._find_draft()) is not None:
                self._around.metrics.recoveries.labels("leaving").inc()
                self._log.info("leaving a replica that leaves", replica=link.name)
                return True
        return False

    def _leaves_slow(self) -> bool:
        """Whether a replica that it is on is slow, another can take it that is not, and it is the session's turn."""
        now = time.monotonic()
        slow = [link for link in self._links if link.speed.is_ejected(now)]
        for link in slow:
            other = self._find_verify() if link.role == "verify" else self._find_draft()
            if other is None or other is link or not self._is_good(other, now):
                continue
            if not self._around.slowness.may_leave(link, self.session_id):
                continue
            self._around.metrics.recoveries.labels("slow").inc()
            self._log.info("leaving a slow replica", replica=link.name, for_replica=other.name)
            return True
        return False

    def _is_good(self, link: Link, now: float) -> bool:
        failed = link.doubted_at or link.address in self._standing.avoided
        return not failed and not link.speed.is_out(now, link.num_sessions, begins=False)

    # ------------------------------------------------------------------------------------------------------- rounds

    async def _step(self) -> Committed | None:
        """Waits for one outcome and commits it, or deals with the end of the lease. None: nothing to show."""
        assert self._lease is not None
        try:
            await self._heed_interruption()
            event = await self._lease.next(self._around.patience.silence_seconds)
            shown = await self._commit(event) if isinstance(event, Judged) else event
            if isinstance(shown, LeaseOver):
                await self._lost(shown)
                return None
        except TextEnded as ended:
            self._finish(ended.reason, ended.stop)
            return None
        # The watermark goes first: the next rounds are drafted while this one is on its way to the client.
        if self._lease is not None:
            self._lease.committed(self.text.position)
        return shown

    async def _commit(self, judged: Judged) -> Committed | LeaseOver | None:
        """Commits an outcome. None: it had been committed before."""
        assert self._lease is not None
        name = judged.name
        late = name.position < self.text.position
        if late and await self.claim.was_committed(name, judged.outcome):
            return None
        if late or not self.text.continues(name, judged.outcome):
            return LeaseOver(Unavailable(f"{self._lease.replica.name} reported a round of another text"))
        outcome, cut = self.text.cut(judged.outcome)
        began = time.perf_counter()
        await self.claim.commit(name, outcome, cut, self.text)
        return self._committed(outcome, cut, time.perf_counter() - began)

    def _committed(self, outcome: Outcome, cut: Cut, commit_seconds: float) -> Committed:
        metrics = self._around.metrics
        metrics.count_committed(outcome)
        self._last_token_at = time.monotonic()
        if self.text.usage.completion_tokens == self._num_tokens_before:
            self._first_token_at = self._last_token_at
            metrics.first_token.observe(self._first_token_at - self.arrived)
        position = self.text.position
        self.text.append(outcome)
        self._standing.note_success()
        self._around.slowness.note(self._links, outcome, self._last_token_at, begins=self._begins)
        if self._begins:
            self._begins = False
            self._around.slowness.arrived(self.session_id)
        if cut.ended is not None:
            self._finish(cut.ended, cut.stop)
        traced = None
        if self._record.setup.decoding.trace:
            traced = replace(outcome, timings=replace(outcome.timings, commit_seconds=commit_seconds))
        return Committed(
            position,
            self.text.digest,
            outcome.token_ids,
            cut.text,
            outcome.log_probs,
            traced,
            outcome.top_log_probs,
            committed_at=self._last_token_at,
        )

    def _finish(self, reason: FinishReason, stop: str) -> None:
        self.release()
        self._around.retries.note_success()
        usage = self.text.usage.usage(self._first_token_at - self.arrived, self._last_token_at - self.arrived)
        if self._num_tokens_before:  # a resumed stream times only what it made itself
            rest = usage.completion_tokens - self._num_tokens_before - 1
            seconds = (self._last_token_at - self._first_token_at) / rest if rest > 0 else 0.0
            usage = replace(usage, time_per_output_token_seconds=seconds)
        self._finished = Finished(reason, usage, stop)

    # --------------------------------------------------------------------------------------------------- recovering

    async def _lost(self, over: LeaseOver) -> None:
        """Decides what the end of a lease means: another try, or the request's failure."""
        await self._heed_interruption()
        error, links = over.error, self._links
        self.release()
        if self._deadline is not None and self._deadline <= time.monotonic():
            raise DeadlineExceeded("the request's deadline has passed")
        if isinstance(error, Stale):
            await self.claim.check()
            self.claim.note_epoch(over.highest_epoch)
        elif isinstance(error, HOPELESS) and over.at_verify:
            raise error
        self._standing.note_failure(links, over)
        failures = self._standing.num_failures
        self._around.metrics.recoveries.labels(type(error).__name__).inc()
        self._log.info("placing the session anew", cause=str(error), failures=failures)
        if isinstance(error, Overloaded):
            await self._wait_for_room(error)
            return
        if failures > self._around.patience.max_recoveries:
            if isinstance(error, OutOfKV):
                raise error
            raise Unavailable(f"no replica could continue the session; the last reason: {error}")
        if failures > 1:  # the first move is made at once
            await asyncio.sleep(min(0.05 * 2.0**failures, LONGEST_BACKOFF_SECONDS))

    async def _wait_for_room(self, error: Overloaded) -> None:
        """Paces a session that full replicas refuse: each of them is asked once, then ever more rarely.

        Raises:
            Overloaded: there has been no room for as long as patience lasts.
        """
        standing, placement = self._standing, self._around.placement
        if time.monotonic() - standing.failing_since > self._around.patience.recovery_seconds:
            raise error
        untried = placement.verify_for(self._record.setup.target, avoided=standing.avoided)
        if untried is not None and untried.address not in standing.avoided:
            return
        seconds = min(0.05 * 2.0**standing.num_failures, LONGEST_BACKOFF_SECONDS)
        if not self._around.retries.spend():
            seconds = LONGEST_BACKOFF_SECONDS
        await asyncio.sleep(seconds * random.uniform(0.5, 1.0))

    async def _heed_interruption(self) -> None:
        """Ends the stream where it was told to."""
        interruption, self._interruption = self._interruption, None
        if isinstance(interruption, Cancelled):
            await self.claim.check()
        elif interruption is not None:
            raise interruption
