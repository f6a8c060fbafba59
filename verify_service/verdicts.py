"""The last verdicts of a session, kept so that a repeated question gets the same answer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from tandem.decoding.values import Outcome

MAX_KEPT = 4
"""Two rounds may be uncommitted, and one may be under way while its predecessor is asked for again; one to spare."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One judged round: the text it extended, the proposal, and what it did."""

    position: int
    digest: bytes
    proposal_digest: bytes
    """Empty where the target decoded alone."""
    outcome: Outcome

    @property
    def end(self) -> int:
        """Number of tokens of the text after the round."""
        return self.position + len(self.outcome.token_ids)


class Verdicts:
    """The latest rounds of one text, oldest first.

    Invariant: every kept round lies on the text. Its digest is that of the text's first ``position`` tokens, and its
    tokens stand in the text from there on. So a verdict is kept exactly as long as the text that it made: whoever
    replaces the text from some position on calls `cut` with it.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: deque[Kept] = deque(maxlen=MAX_KEPT)

    def add(self, kept: Kept) -> None:
        """Keeps a round that ends where the text does."""
        self._kept.append(kept)

    def find(self, position: int, digest: bytes) -> Kept | None:
        """The round that extended the text of that length and digest."""
        return next((kept for kept in self._kept if kept.position == position and kept.digest == digest), None)

    def beginning_at(self, position: int) -> Kept | None:
        """The round that extended the text's first ``position`` tokens."""
        return next((kept for kept in self._kept if kept.position == position), None)

    def num_uncommitted(self, committed: int, shown: int | None = None) -> int:
        """How many rounds reach past the commit watermark, of those that end at ``shown`` or before."""
        return sum(kept.end > committed and (shown is None or kept.end <= shown) for kept in self._kept)

    def cut(self, position: int) -> None:
        """Forgets every round with a token at ``position`` or after it: that text is gone."""
        while self._kept and self._kept[-1].end > position:
            self._kept.pop()
