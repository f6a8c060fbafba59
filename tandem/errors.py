"""Every error Tandem raises on purpose, as one tree.

    TandemError
    ├── InvalidArgument        the caller asked for something that cannot be; nothing was changed
    │   └── ModelRefused       a model that Tandem will not load, or a pair it will not match
    ├── OutOfKV                no free KV blocks now; nothing was changed, and a retry may succeed
    ├── Overloaded             admission refused; `retry_after_seconds` says when to come back
    ├── Unavailable            a part is missing for now (no replica, no store); a retry may succeed
    │   └── Unreached          nothing took the connection: the call was never sent
    ├── DeadlineExceeded       the request's own deadline passed
    ├── Cancelled              the request was cancelled by its owner
    ├── Unauthenticated        the call comes with no key that is known, where one is asked for
    ├── NotFound               no such session, or it has expired
    ├── Stale                  refused by a fence: a newer owner holds the session
    ├── DataLoss               committed tokens are gone and cannot be restored; texts are never spliced
    ├── RowFailed              one sequence of a batch failed (non-finite logits, …); its neighbours did not
    └── InvariantBroken        a defect in Tandem itself

Codes on the wire are given by one table, `tandem.rpc.status`.
"""

from __future__ import annotations


class TandemError(Exception):
    """Base of all errors raised on purpose. The message says what was wrong, what was expected and what to do."""


class InvalidArgument(TandemError):
    """The request cannot be served as asked; nothing was changed."""

    def __init__(self, message: str, field: str = "") -> None:
        """``field``: the field of the request that is to blame, where it is one and is known here."""
        super().__init__(message)
        self.field = field


class ModelRefused(InvalidArgument):
    """A model that will not be loaded, or a pair that will not be matched."""


class OutOfKV(TandemError):
    """No free KV blocks; raised before any state was touched."""


class Overloaded(TandemError):
    """Admission refused the request for now."""

    def __init__(self, message: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(TandemError):
    """A part that is needed is not there for now."""


class Unreached(Unavailable):
    """There was no connection, so that the call was never sent: asking again is no work for anybody."""


class DeadlineExceeded(TandemError):
    """The deadline that travelled with the request has passed."""


class Cancelled(TandemError):
    """The request was cancelled by whoever made it."""


class Unauthenticated(TandemError):
    """Nobody that is known here; it never says which part of a key was wrong."""


class NotFound(TandemError):
    """No such session; it never was, or it has expired."""


class Stale(TandemError):
    """An older epoch, or an equal one with another owner's nonce."""


class DataLoss(TandemError):
    """Tokens that were shown are gone from the store and could not be restored."""


class RowFailed(TandemError):
    """One sequence failed; the rest of its batch did not."""


class InvariantBroken(TandemError):
    """Something that must always hold does not: a defect in Tandem."""
