"""One leased session: whose it is, its text, the round that is under way, and what may be drafted next."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from draft_service.events import (
    AskVerdict,
    ExtendAtVerify,
    Grant,
    Judged,
    Missed,
    OpenAtVerify,
    RoundDone,
    VerifyRequest,
)
from tandem.decoding.methods import method
from tandem.decoding.values import Outcome, Proposal, RoundName, RunningDigest
from tandem.engine.proposer import DraftSequence
from tandem.errors import DeadlineExceeded, InvariantBroken, TandemError, Unavailable

MAX_UNCOMMITTED = 2
"""Outcomes that may be on their way to the store; the next round waits for the commit watermark."""

MAX_MISSES = 3
"""How often a verify replica may miss the text of one round before it is taken for broken."""


@dataclass(slots=True)
class Asked:
    """A round under way."""

    name: RoundName
    proposal: Proposal
    at: float
    deadline: float
    num_misses: int = 0


class Lease:
    """A session while it is leased here. Everything runs in the model thread.

    Invariant: at most one round is under way, and its text is the sequence's whole text; the sequence is extended by
    verdicts only.
    """

    def __init__(self, grant: Grant, sequence: DraftSequence, round_timeout_seconds: float) -> None:
        self.grant = grant
        self.session_id = grant.session_id
        self.fence = grant.fence
        self.sequence = sequence
        self.asked: Asked | None = None
        self._round_timeout_seconds = round_timeout_seconds
        self._committed = len(grant.token_ids)
        self.waiting_since = time.monotonic()
        """When the next round could be drafted, but for the watermark; see `tandem.engine.scheduler`."""
        self._ends: list[int] = []
        self._num_judged = 0
        self._expires_at = math.inf
        self.ready_since = time.monotonic()
        """Since when the next round could be drafted, if it can."""
        self._renew()

    @property
    def is_ready(self) -> bool:
        """Whether the next round can be drafted."""
        return self.asked is None and len(self._ends) < MAX_UNCOMMITTED and not self.sequence.finished

    @property
    def wanted_depth(self) -> int:
        """How deep the next proposal should be: the draft length, unless the text may not become so long.

        0 where the method itself stops earlier when the draft model is unsure: nothing is lacking then.
        """
        decoding = self.grant.decoding
        if method(decoding.speculation.method).drafting.fallback_threshold:
            return 0
        return min(decoding.speculation.draft_length, max(0, decoding.max_position - self.sequence.position - 1))

    @property
    def round_deadline(self) -> float:
        """When nobody wants the next round any more."""
        return min(self.grant.deadline, self._expires_at)

    @property
    def is_young(self) -> bool:
        """Whether at most one verdict has come: somebody waits for the first tokens."""
        return self._num_judged <= 1

    @property
    def next_deadline(self) -> float:
        """When the request, the lease or the round under way gives up."""
        asked = self.asked.deadline if self.asked is not None else math.inf
        return min(self.grant.deadline, self._expires_at, asked)

    def is_past_its_deadline(self, now: float) -> bool:
        """Whether nobody waits for the text any more."""
        return self.grant.deadline <= now

    def overdue(self, now: float) -> tuple[TandemError, bool] | None:
        """Why the lease is over by now, and whether the verify replica is to blame; None while it is not."""
        if self.is_past_its_deadline(now):
            return DeadlineExceeded("the request's deadline has passed"), False
        if self.asked is not None and self.asked.deadline <= now:
            seconds = self._round_timeout_seconds
            return Unavailable(f"{self.grant.verify_address} did not judge a round within {seconds:g} s"), True
        if self._expires_at <= now:
            return Unavailable(f"the lease expired: no watermark for {self.grant.lease_seconds:g} s"), False
        return None

    def commit(self, position: int) -> None:
        """Notes the commit watermark, and renews the lease."""
        was_ready = self.is_ready
        self._committed = max(self._committed, position)
        self._ends = [end for end in self._ends if end > self._committed]
        if not was_ready:
            self.ready_since = time.monotonic()
        self._renew()

    def opening(self) -> OpenAtVerify:
        """What opens the session at its verify replica, with the text as it is now."""
        remaining = 0.0 if self.grant.deadline == math.inf else max(0.001, self.grant.deadline - time.monotonic())
        tokens = list(self.sequence.token_ids)
        return OpenAtVerify(self.session_id, self.fence, self.grant.decoding, tokens, remaining)

    def ask(self, proposal: Proposal) -> AskVerdict:
        """Begins a round."""
        now = time.monotonic()
        name = RoundName(self.session_id, self.fence, self.sequence.position, self.sequence.digest)
        self.asked = Asked(name, proposal, now, now + self._round_timeout_seconds)
        return self._question(self.asked)

    def supply(self, missed: Missed) -> list[VerifyRequest]:
        """What the replica lacks, then the same proposal again; nothing where the round is not the one under way.

        Raises:
            Unavailable: it keeps on missing it.
        """
        asked = self.asked
        if asked is None or asked.name != missed.name:
            return []
        asked.num_misses += 1
        if asked.num_misses > MAX_MISSES:
            raise Unavailable(f"{self.grant.verify_address} does not keep the session's text")
        text = self.sequence.token_ids
        have = missed.have_position
        shares = 0 < have < len(text) and RunningDigest(text[:have]).value == missed.have_digest
        if shares and asked.num_misses == 1:
            supplied: VerifyRequest = ExtendAtVerify(self.session_id, self.fence, have, text[have:])
        else:
            supplied = self.opening()
        return [supplied, self._question(asked)]

    def judged(self, judged: Judged) -> RoundDone | None:
        """Applies a verdict; None where the round is not the one under way (it was answered twice, or is another's).

        Raises:
            InvariantBroken: the replica's text is no longer this one.
        """
        asked = self.asked
        if asked is None or asked.name != judged.name:
            return None
        self.asked = None
        outcome = judged.outcome
        self.sequence.extend(outcome.token_ids)
        if not outcome.token_ids or self.sequence.digest != outcome.next_digest:
            raise InvariantBroken(f"{self.grant.verify_address} answered with a verdict that does not fit the text")
        self.waiting_since = time.monotonic()
        self._ends.append(self.sequence.position)
        self._num_judged += 1
        self.ready_since = time.monotonic()
        return RoundDone(asked.name, self._timed(judged, asked))

    def _timed(self, judged: Judged, asked: Asked) -> Outcome:
        outcome = judged.outcome
        timings = replace(
            outcome.timings,
            serialise_seconds=outcome.timings.serialise_seconds + judged.serialise_seconds,
            draft_seconds=asked.proposal.draft_seconds,
            verify_round_trip_seconds=time.monotonic() - asked.at,
        )
        return replace(outcome, timings=timings)

    def _question(self, asked: Asked) -> AskVerdict:
        return AskVerdict(asked.name, asked.proposal, self._committed, self._round_timeout_seconds)

    def _renew(self) -> None:
        seconds = self.grant.lease_seconds
        self._expires_at = time.monotonic() + seconds if seconds else math.inf
