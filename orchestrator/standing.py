"""How replicas stand with one session: which ones failed it, and are not to be its next choice."""

from __future__ import annotations

import time
from collections.abc import Iterable

from orchestrator.leases import LeaseOver
from orchestrator.links import Link
from tandem.errors import DataLoss, InvalidArgument, InvariantBroken, Overloaded, RowFailed

DRAFTING_FAILURES = 3
"""Placements in a row that came to nothing, after which a session does without its draft replica for a while."""

HOPELESS = (InvalidArgument, RowFailed, InvariantBroken, DataLoss)
"""What a replica that failed so will fail with again."""

_FOREVER = float("inf")


class Standing:
    """Failures of one session, counted since its text last grew. Draft replicas are left out before they fail it."""

    def __init__(self, avoid_seconds: float) -> None:
        self._avoid_seconds = avoid_seconds
        self._avoided: dict[str, float] = {}  # address -> until when
        self._refused: dict[str, float] = {}
        self.num_failures = 0
        self.failing_since = 0.0
        """When the first of them was, by `time.monotonic`."""

    @property
    def avoided(self) -> frozenset[str]:
        """Addresses to be taken only for want of others."""
        return _current(self._avoided)

    @property
    def refused(self) -> frozenset[str]:
        """Addresses of draft replicas not to be taken at all."""
        return _current(self._refused)

    def note_success(self) -> None:
        """The text grew."""
        self.num_failures = 0

    def note_failure(self, links: Iterable[Link], over: LeaseOver) -> None:
        """A placement on ``links`` ended."""
        self.num_failures += 1
        if self.num_failures == 1:
            self.failing_since = time.monotonic()
        until = time.monotonic() + self._avoid_seconds
        for link in links:
            if over.at_verify == (link.role == "verify"):
                self._avoided[link.address] = until
            if link.role == "draft" and isinstance(over.error, HOPELESS):
                self._refused[link.address] = _FOREVER
            elif link.role == "draft" and (self.num_failures >= DRAFTING_FAILURES or _is_full(link, over)):
                self._refused[link.address] = until


def _is_full(link: Link, over: LeaseOver) -> bool:
    """Whether it was this replica that had no room: asking it again soon would find it as full."""
    return isinstance(over.error, Overloaded) and over.at_verify == (link.role == "verify")


def _current(untils: dict[str, float]) -> frozenset[str]:
    now = time.monotonic()
    return frozenset(address for address, until in untils.items() if until > now)
