"""How many retries there may be: a share of what succeeds, so that retries cannot multiply an overload."""

from __future__ import annotations

import threading


class RetryBudget:
    """A bucket of tokens, as gRPC's retry throttling: a failure takes one, a success gives a share of one back.

    Retries are allowed while it is more than half full. So a few failures among many successes are all retried; where
    most requests fail, ``share`` is the number of retries a success. Safe to share between threads.
    """

    def __init__(self, tokens: float = 10.0, share: float = 0.1) -> None:
        """Full at first."""
        self._most = self._tokens = tokens
        self._share = share
        self._lock = threading.Lock()

    def note_success(self) -> None:
        """A request was served."""
        with self._lock:
            self._tokens = min(self._most, self._tokens + self._share)

    def spend(self) -> bool:
        """A request failed; whether it may be tried again."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1.0)
            return self._tokens > self._most / 2
