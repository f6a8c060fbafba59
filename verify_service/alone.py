"""The target decoding alone: tokens gather while two outcomes are uncommitted, and go out as soon as fewer are."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

from tandem.decoding.stats import plus
from tandem.decoding.values import Outcome, RoundName, RunningDigest, StageTimings
from verify_service.events import Answer, Decoded
from verify_service.verdicts import Kept

if TYPE_CHECKING:
    from verify_service.session import Session

MAX_GATHERED = 16
"""Tokens at which gathering pauses until the commit watermark moves."""

MAX_SHOWN = 2
"""Outcomes that may be on their way to the store."""


class Alone:
    """Runs ahead for one session.

    Invariant: the text is what was shown (up to ``_shown``), then kept rounds that begin there (a former owner's
    answers that were lost: they are shown again), then what is gathered. Text past those is cut before decoding
    goes on.
    """

    def __init__(self, session: Session, position: int) -> None:
        self._session = session
        self._shown = position
        self._digest = RunningDigest(session.sequence.token_ids[:position]).value
        self._gathered: list[Outcome] = []
        self._stopped = False

    @property
    def wants_more(self) -> bool:
        """Whether the next pass should decode for this session."""
        if self._stopped or self._num_gathered >= MAX_GATHERED or self._session.sequence.finished:
            return False
        # A traced round is shown as it was: rounds are merged only where nobody looks at them.
        return not (self._gathered and self._gathered[-1].trace is not None)

    @property
    def _num_gathered(self) -> int:
        return sum(len(outcome.token_ids) for outcome in self._gathered)

    def add(self, outcome: Outcome) -> None:
        """Gathers what a pass appended to the text."""
        self._gathered.append(outcome)

    def stop(self) -> None:
        """Decodes no further, and cuts what was gathered and never shown."""
        self._stopped = True
        if self._gathered:
            self._gathered.clear()
            self._cut()

    def emit(self) -> list[Answer]:
        """Rounds that may be shown now. Called before the first pass too, so that the text is where decoding begins."""
        answers: list[Answer] = []
        session = self._session
        while not self._stopped and session.verdicts.num_uncommitted(session.committed, self._shown) < MAX_SHOWN:
            kept = session.verdicts.beginning_at(self._shown)
            if kept is None and self._gathered:
                kept = Kept(self._shown, self._digest, b"", _merge(self._gathered))
                session.verdicts.add(kept)
                self._gathered.clear()
            if kept is None:
                break
            name = RoundName(session.session_id, session.fence, self._shown, self._digest)
            answers.append(Decoded(name, kept.outcome))
            self._shown, self._digest = kept.end, kept.outcome.next_digest
        if not self._gathered and session.verdicts.beginning_at(self._shown) is None:
            self._cut()
        return answers

    def _cut(self) -> None:
        """Cuts the text where what may be shown ends."""
        session = self._session
        end = self._shown
        while (kept := session.verdicts.beginning_at(end)) is not None:
            end = kept.end
        if session.sequence.position > end:
            session.sequence.replace_text(session.sequence.token_ids[:end])
            session.verdicts.cut(end)


def _merge(outcomes: list[Outcome]) -> Outcome:
    """Several outcomes in a row as one."""
    if len(outcomes) == 1:
        return outcomes[0]
    timings = [outcome.timings for outcome in outcomes]
    return replace(
        outcomes[-1],
        token_ids=tuple(token for outcome in outcomes for token in outcome.token_ids),
        log_probs=tuple(value for outcome in outcomes for value in outcome.log_probs),
        top_log_probs=tuple(top for outcome in outcomes for top in outcome.top_log_probs),
        num_target_passes=sum(outcome.num_target_passes for outcome in outcomes),
        timings=StageTimings(
            queue_seconds=sum(timing.queue_seconds for timing in timings),
            forward_seconds=sum(timing.forward_seconds for timing in timings),
            judge_seconds=sum(timing.judge_seconds for timing in timings),
        ),
        verify_joules=reduce(plus, (outcome.verify_joules for outcome in outcomes)),
    )
