"""How replicas stand with one session: which ones failed it, and are not to be its next choice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from orchestrator.leases import LeaseOver
from orchestrator.links import Link
from tandem.errors import DataLoss, InvalidArgument, InvariantBroken, Overloaded, RowFailed, Unavailable

DRAFTING_FAILURES = 3
"""Failures of a draft replica in a row, after which a session does without that one for a while."""

HOPELESS = (InvalidArgument, RowFailed, InvariantBroken, DataLoss)
"""What a replica that failed so will fail with again."""

_FOREVER = float("inf")


class Standing:
    """Failures of one session, counted since its text last grew. Draft replicas are left out before they fail it."""

    def __init__(self, avoid_seconds: float, max_failures: int) -> None:
        """Failures in a row past ``max_failures`` are the request's."""
        self._avoid_seconds = avoid_seconds
        self._max_failures = max_failures
        self._failed_at: dict[str, float] = {}  # address -> when last
        self._refused: dict[str, float] = {}  # address -> until when
        self._num_draft_failures: Counter[str] = Counter()
        self.num_failures = 0
        self.failing_since = 0.0
        """When the first of them was, by `time.monotonic`."""

    @property
    def avoided(self) -> Mapping[str, float]:
        """Addresses to be taken only for want of others, and when each failed: the longest ago comes first."""
        since = time.monotonic() - self._avoid_seconds
        return {address: at for address, at in self._failed_at.items() if at > since}

    @property
    def refused(self) -> frozenset[str]:
        """Addresses of draft replicas not to be taken at all."""
        now = time.monotonic()
        return frozenset(address for address, until in self._refused.items() if until > now)

    def note_success(self) -> None:
        """The text grew."""
        self.num_failures = 0
        self._num_draft_failures.clear()

    def note_failure(self, links: Iterable[Link], over: LeaseOver) -> None:
        """A placement on ``links`` ended."""
        self.num_failures += 1
        now = time.monotonic()
        if self.num_failures == 1:
            self.failing_since = now
        for link in links:
            here = over.at_verify == (link.role == "verify")
            if here:
                self._failed_at[link.address] = now
                if isinstance(over.error, Unavailable):
                    link.doubt()
            if link.role == "draft":
                self._note_draft_failure(link.address, over, now, is_full=here and isinstance(over.error, Overloaded))

    def _note_draft_failure(self, address: str, over: LeaseOver, now: float, *, is_full: bool) -> None:
        """``is_full``: it was this replica that had no room; asked again soon it would be as full."""
        self._num_draft_failures[address] += not over.at_verify
        if isinstance(over.error, HOPELESS):
            self._refused[address] = _FOREVER
        elif (
            is_full or self._num_draft_failures[address] >= DRAFTING_FAILURES or self.num_failures >= self._max_failures
        ):
            # Before the last try too, whoever failed: it may be that no drafter gets through to the verifier. Not
            # sooner, because without a drafter the text may go on otherwise.
            self._refused[address] = now + self._avoid_seconds
        elif over.at_verify and self.num_failures > 1:
            self._failed_at[address] = now  # it may be this drafter that does not get through
