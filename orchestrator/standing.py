"""How replicas stand with one session: which ones failed it, and are not to be its next choice."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from orchestrator.leases import LeaseOver
from orchestrator.links import Link
from tandem.errors import DataLoss, InvalidArgument, InvariantBroken, RowFailed, Unavailable

DRAFTING_FAILURES = 3
"""Failures of drafting in a row, after which a session does without that draft replica for a while."""

VERIFYING_FAILURES = 6
"""Failures of verifying in a row, after which it does so too: it may be that no drafter gets through to the verifier.

More than the others, because whoever does without a drafter may get another text.
"""

HOPELESS = (InvalidArgument, RowFailed, InvariantBroken, DataLoss)
"""What a replica that failed so will fail with again."""

_FOREVER = float("inf")


class Standing:
    """Failures of one session, counted since its text last grew. Draft replicas are left out before they fail it."""

    def __init__(self, avoid_seconds: float) -> None:
        self._avoid_seconds = avoid_seconds
        self._failed_at: dict[str, float] = {}  # address -> when last
        self._refused: dict[str, float] = {}  # address -> until when
        self._num_draft_failures = 0
        self.num_failures = 0

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
        self.num_failures = self._num_draft_failures = 0

    def note_failure(self, links: Iterable[Link], over: LeaseOver) -> None:
        """A placement on ``links`` ended."""
        self.num_failures += 1
        self._num_draft_failures += not over.at_verify
        now = time.monotonic()
        hopeless = isinstance(over.error, HOPELESS)
        for link in links:
            if over.at_verify == (link.role == "verify"):
                self._failed_at[link.address] = now
                if isinstance(over.error, Unavailable):
                    link.doubt()
            elif link.role == "draft" and self.num_failures > 1:
                # Twice in a row at the verifier: it may be this drafter that does not get through to it.
                self._failed_at[link.address] = now
            if link.role == "draft" and hopeless:
                self._refused[link.address] = _FOREVER
            elif link.role == "draft" and (
                self._num_draft_failures >= DRAFTING_FAILURES or self.num_failures >= VERIFYING_FAILURES
            ):
                self._refused[link.address] = now + self._avoid_seconds
