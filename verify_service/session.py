"""One session at this replica: whose it is, its text, its verdicts, and the rounds that wait.

Everything here runs in the model thread. Methods return what is to be answered, in order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from tandem.decoding.values import Outcome, Proposal, RoundName, RunningDigest
from tandem.engine.verifier import VerifySequence
from tandem.errors import DeadlineExceeded, InvalidArgument, Overloaded, Stale
from verify_service.alone import Alone
from verify_service.events import (
    Answer,
    Dropped,
    Extend,
    KvMissed,
    Open,
    Opened,
    Refused,
    Round,
    Stream,
    Verdict,
)
from verify_service.verdicts import Kept, Verdicts

MAX_UNCOMMITTED = 2
"""Rounds that may be judged past the commit watermark; the next one waits for it to move."""

MAX_REPEATS = 4
"""Deliveries of a round that may wait for the one that is being judged."""


class Session:
    """A session's state.

    Invariants, between calls:

    - The text may be *ahead* of what the session's owner knows: the end of it was judged and the answer lost. It stays
      ahead, so that the repeated round finds its verdict; it is cut back only when its owner asks for a round on a
      shorter text for which no verdict is kept, and takes another way there.
    - A round in ``ready`` extends the text's end. One in ``held`` names a longer text that may yet come true. Both are
      looked at again whenever the text changes.
    """

    def __init__(self, opened: Open, sequence: VerifySequence) -> None:
        self.session_id = opened.session_id
        self.fence = opened.fence
        self.stream: Stream | None = opened.stream
        self.sequence = sequence
        self.verdicts = Verdicts()
        self.alone: Alone | None = None
        self.ready: Round | None = None
        self.committed = len(opened.token_ids)
        self.deadline = opened.deadline
        self.waiting_since = time.monotonic()
        """When what `waits_for_judging` began to wait; see `tandem.engine.scheduler`."""
        self.closed = False
        """By its owner; until it is opened again, nothing is done for it."""
        self._held: Round | None = None
        self._repeats: list[Round] = []
        self._enter(opened)

    def reopen(self, opened: Open) -> list[Answer]:
        """Opens again: in the same name after a lost stream, or in a newer one. The fence has been checked."""
        answers: list[Answer] = []
        if self.alone is not None:
            self.alone.stop()
            self.alone = None
        common = self._common_with(opened.token_ids)
        if common < len(opened.token_ids):
            answers += self._replace(opened.token_ids, common)
        if opened.fence != self.fence:
            # What the former owner still waited for is nobody's now.
            self.ready, self._held, self._repeats, answers = None, None, [], []
            self.fence = opened.fence
            self.committed = len(opened.token_ids)
        self.committed = max(self.committed, len(opened.token_ids))
        self.stream = opened.stream
        self.deadline = opened.deadline
        self.waiting_since = time.monotonic()
        self._enter(opened)
        return answers

    def opened(self, opened: Open) -> Opened:
        """The answer to an open."""
        return Opened(self.session_id, min(self.sequence.cached_position, len(opened.token_ids)))

    def extend(self, extend: Extend) -> list[Answer]:
        """Replaces the text from a position on, where it differs.

        Raises:
            InvalidArgument: the tokens would leave a gap.
        """
        text = self.sequence.token_ids
        if extend.from_position > len(text):
            raise InvalidArgument(
                f"the tokens begin at position {extend.from_position}, past the {len(text)} that are held; "
                "open the session with its whole text"
            )
        wanted = text[: extend.from_position] + extend.token_ids
        common = self._common_with(wanted)
        return self._replace(wanted, common) if common < len(wanted) else []

    def submit(self, asked: Round) -> list[Answer]:
        """Takes a round: answered at once where its verdict is known or it can never be judged, else made ready."""
        self.commit(asked.committed_position)
        name = asked.name
        kept = self.verdicts.find(name.position, name.digest)
        if kept is not None:
            return [self._again(asked, kept)]
        if not asked.sent_ahead and self.committed <= name.position < self.sequence.position:
            text = self.sequence.token_ids[: name.position]
            if RunningDigest(text).value == name.digest:
                answers = self._replace(text, name.position)
                return [*answers, *self._make_ready(asked)]
        if self._extends_text(name):
            return self._make_ready(asked)
        if asked.sent_ahead:
            return self._hold(asked)
        if name.position < self.committed:
            stale = Stale(f"the session is committed up to {self.committed}; the round begins at {name.position}")
            return [Refused(self.session_id, stale, self.fence.epoch)]
        return [self._miss(name)]

    def commit(self, position: int) -> None:
        """Moves the commit watermark; it never goes back under one owner."""
        self.committed = max(self.committed, position)

    @property
    def waits_for_judging(self) -> bool:
        """Whether the next pass should take this session."""
        if self.alone is not None:
            return self.alone.wants_more
        return self.ready is not None and self.verdicts.num_uncommitted(self.committed) < MAX_UNCOMMITTED

    @property
    def round_deadline(self) -> float:
        """When nobody wants the round any more that waits for judging."""
        return min(self.deadline, self.ready.deadline) if self.ready is not None else self.deadline

    @property
    def proposal(self) -> Proposal | None:
        """What is to be judged in the next pass; None where the target decodes alone."""
        return self.ready.proposal if self.ready is not None and self.alone is None else None

    def judged(self, outcome: Outcome, began: float) -> list[Answer]:
        """Notes what a pass that began at ``began`` did to the text; the sequence has its tokens already."""
        if self.alone is not None:
            self.waiting_since = time.monotonic()
            self.alone.add(outcome)
            return self.advance()
        asked = self.ready
        assert asked is not None
        self.ready = None
        queue_seconds = max(0.0, began - asked.arrived)
        timed = replace(outcome.timings, queue_seconds=queue_seconds, serialise_seconds=asked.read_seconds)
        outcome = replace(outcome, timings=timed)
        kept = Kept(asked.name.position, asked.name.digest, asked.proposal.digest, outcome)
        self.verdicts.add(kept)
        answers: list[Answer] = [Verdict(asked.name, outcome)]
        repeats, self._repeats = self._repeats, []
        answers += [self._again(repeat, kept) for repeat in repeats]
        return answers + self._look_at_held()

    def failed(self, error: Exception) -> list[Answer]:
        """Notes that a pass refused this session's row and left its text alone."""
        self.ready, self._repeats, self._held = None, [], None
        if self.alone is not None:
            self.alone.stop()
        return [Refused(self.session_id, error, self.fence.epoch)]

    def advance(self) -> list[Answer]:
        """What the target decoded alone and may be shown now."""
        return self.alone.emit() if self.alone is not None else []

    def expire(self, now: float) -> list[Answer]:
        """Gives up rounds whose own deadline has passed."""
        answers: list[Answer] = []
        if self.ready is not None and self.ready.deadline <= now:
            self.ready, self._repeats = None, []
            error = DeadlineExceeded("the round's deadline passed before it could be judged")
            answers.append(Refused(self.session_id, error, self.fence.epoch))
        if self._held is not None and self._held.deadline <= now:
            answers.append(Dropped(self._held.name))
            self._held = None
        return answers

    def release(self) -> None:
        """Stops all work: nobody is served now. The text and its verdicts stay."""
        if self.alone is not None:
            self.alone.stop()
        self.ready, self._held, self._repeats, self.stream = None, None, [], None

    @property
    def next_deadline(self) -> float:
        """The earliest instant at which something here gives up."""
        waiting = (self.ready.deadline if self.ready else math.inf, self._held.deadline if self._held else math.inf)
        return min(self.deadline, *waiting)

    def _enter(self, opened: Open) -> None:
        """Sets the way of working that the opening stream asks for."""
        self.closed = False
        if opened.stream.decodes:
            self.ready, self._held, self._repeats = None, None, []
            self.alone = Alone(self, len(opened.token_ids))

    def _again(self, asked: Round, kept: Kept) -> Verdict:
        same = kept.proposal_digest == asked.proposal.digest
        return Verdict(asked.name, kept.outcome, repeated_answer=same, superseded=not same)

    def _extends_text(self, name: RoundName) -> bool:
        return name.position == self.sequence.position and name.digest == self.sequence.digest

    def _make_ready(self, asked: Round) -> list[Answer]:
        if self.sequence.finished:
            ended = InvalidArgument(f"the text has ended at position {self.sequence.position}; nothing follows")
            return [Refused(self.session_id, ended, self.fence.epoch)]
        if self.ready is None or self.ready.stream is not asked.stream:
            self.ready, self.waiting_since = asked, asked.arrived
            return []
        # The first proposal of a round is the one that counts; other deliveries are told what came of it.
        if len(self._repeats) >= MAX_REPEATS:
            crowded = Overloaded("too many proposals for one round")
            return [Refused(self.session_id, crowded, self.fence.epoch)]
        self._repeats.append(asked)
        return []

    def _hold(self, asked: Round) -> list[Answer]:
        if asked.name.position <= self.sequence.position:
            return [Dropped(asked.name)]
        former, self._held = self._held, asked
        return [Dropped(former.name)] if former is not None else []

    def _look_at_held(self) -> list[Answer]:
        held = self._held
        if held is None or held.name.position > self.sequence.position:
            return []
        self._held = None
        if self._extends_text(held.name) and not self.sequence.finished and self.ready is None:
            self.ready, self.waiting_since = held, held.arrived
            return []
        return [Dropped(held.name)]

    def _replace(self, token_ids: list[int], common: int) -> list[Answer]:
        """Takes another text that shares ``common`` tokens with this one, and looks again at what waits."""
        self.sequence.replace_text(token_ids)
        self.verdicts.cut(common)
        answers: list[Answer] = []
        if self.ready is not None and not self._extends_text(self.ready.name):
            answers += [self._miss(asked.name) for asked in (self.ready, *self._repeats)]
            self.ready, self._repeats = None, []
        return answers + self._look_at_held()

    def _miss(self, name: RoundName) -> KvMissed:
        return KvMissed(name, self.sequence.position, self.sequence.digest)

    def _common_with(self, token_ids: Sequence[int]) -> int:
        """How many leading tokens the text shares with another."""
        text = self.sequence.token_ids
        shared = min(len(text), len(token_ids))
        if text[:shared] == token_ids[:shared]:
            return shared
        return next(index for index in range(shared) if text[index] != token_ids[index])
