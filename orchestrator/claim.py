"""A stream's claim on a session: the fence in whose name it works, and all that it does at the store under it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.committed_text import CommittedText
from orchestrator.metrics import Metrics
from orchestrator.records import KvReference, SessionRecord
from orchestrator.session_store import CommitAnswer, Deleted, SessionStore
from tandem.cut import Cut
from tandem.decoding.values import Fence, Outcome, RoundName
from tandem.errors import DataLoss, InvariantBroken, NotFound, Stale, Unavailable
from tandem.generation import FinishReason
from tandem.telemetry import logger

Answer = TypeVar("Answer")

RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session is about to run: role and address."""

    role: str
    address: str


class TextEnded(Exception):
    """The session's text has ended, by somebody else's doing."""

    def __init__(self, reason: FinishReason, stop: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stop = stop


class Claim:
    """A session at the store, as one stream holds it. While the store is away, calls wait and are repeated.

    All methods raise `TextEnded` when the text has ended from outside, `Stale` when another stream has taken the
    session over, `Unavailable` when the store stays away for longer than ``patience_seconds``, and `DataLoss` when it
    lost committed tokens that cannot be restored.
    """

    def __init__(self, record: SessionRecord, store: SessionStore, metrics: Metrics, patience_seconds: float) -> None:
        self.session_id = record.session_id
        self.fence = record.fence
        self._raising: Fence | None = None  # under way, so that either may be the session's
        self._store = store
        self._metrics = metrics
        self._patience_seconds = patience_seconds
        self._highest_epoch = record.fence.epoch
        self._log = logger("orchestrator.claim").bind(session_id=record.session_id)

    def note_epoch(self, epoch: int) -> None:
        """Remembers an epoch that a replica has seen: the store may have forgotten it in a failover."""
        self._highest_epoch = max(self._highest_epoch, epoch)

    @property
    def possible_fences(self) -> tuple[Fence, ...]:
        """Those under which the store may have the session: the newer one too where a stream ended while raising it."""
        return (self.fence,) if self._raising is None else (self.fence, self._raising)

    async def create(self, record: SessionRecord, places: Sequence[Place]) -> None:
        """Writes a new session. Not repeated: the client has nothing yet, and may ask again."""
        await self._store.create(replace(record, kv_references=_references(places, record.position, self.fence)))

    async def raise_epoch(self, text: CommittedText, places: Sequence[Place]) -> None:
        """Takes the session, or moves it, under a fence past every epoch known."""
        raised = Fence(max(self.fence.epoch, self._highest_epoch) + 1, secrets.token_bytes(16))
        self._raising = raised
        references = _references(places, text.position, raised)
        try:
            await self._patiently(lambda: self._store.raise_epoch(self.session_id, self.fence, raised, references))
        except NotFound:
            await self._write_back(text.record(raised))
        except Stale:
            # Ended, moved, or raised by us in a call whose answer was lost.
            await self.check(raised)
        self.fence, self._raising = raised, None

    async def check(self, fence: Fence | None = None) -> None:
        """Returns while the session is this stream's: under ``fence``, or the one it has."""
        try:
            record = await self._patiently(lambda: self._store.read(self.session_id))
        except Deleted:
            raise TextEnded("cancelled", "") from None
        except NotFound:
            return  # the store lost it; the next step writes it back
        if record.ended is not None:
            raise TextEnded(record.ended, record.stop)
        if record.fence != (fence or self.fence):
            raise Stale("the session is continued by another stream, which took it over")

    async def was_committed(self, name: RoundName, outcome: Outcome) -> bool:
        """Whether an outcome from before the text's end is one that was committed: a late repetition."""
        return (await self._ask(name, outcome, Cut(0, ""))).kind == "duplicate"

    async def commit(self, name: RoundName, outcome: Outcome, cut: Cut, text: CommittedText) -> None:
        """Appends an outcome, as cut, to the stored text. Once this returns, it may be shown."""
        began = time.perf_counter()
        give_up = began + self._patience_seconds
        while (answer := await self._ask(name, outcome, cut)).kind == "gap" and time.perf_counter() < give_up:
            await self._write_back(text.record(self.fence))  # and once more, where that was lost as well
        if answer.kind == "stale":
            await self.check()
            raise InvariantBroken("the store refused a commit of the session's owner")
        if answer.kind == "gap" or (answer.kind == "duplicate" and answer.token_ids != outcome.token_ids):
            raise DataLoss(f"the store has another text than session {self.session_id}")
        self._metrics.commit_seconds.observe(time.perf_counter() - began)

    async def _ask(self, name: RoundName, outcome: Outcome, cut: Cut) -> CommitAnswer:
        # What is asked again is answered as the first time, so a lost answer does no harm.
        answer = await self._patiently(
            lambda: self._store.commit(name, outcome, cut.ended, cut.stop), self._metrics.commits["failed"].inc
        )
        self._metrics.commits[answer.kind].inc()
        return answer

    async def _write_back(self, record: SessionRecord) -> None:
        self._log.warning("the store lost the session, or the end of it; writing it back", position=record.position)
        await self._patiently(lambda: self._store.restore(record))

    async def _patiently(
        self, call: Callable[[], Awaitable[Answer]], note_failure: Callable[[], None] = lambda: None
    ) -> Answer:
        give_up = time.monotonic() + self._patience_seconds
        while True:
            try:
                return await call()
            except Unavailable:
                note_failure()
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(RETRY_SECONDS)


def _references(places: Sequence[Place], position: int, fence: Fence) -> tuple[KvReference, ...]:
    return tuple(
        KvReference("draft" if place.role == "draft" else "verify", place.address, position, fence.epoch)
        for place in places
    )
