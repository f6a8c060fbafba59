"""Who is served by the next step of a model: the one policy of both engines.

A step is one pass for all rounds that are ready, then, once their results are on their way, one chunk of a text that is
too long to be read in passing. So a long text delays nobody's round by more than one chunk.

- *Fair*: all wait in one queue, by how long they have waited. A chunk costs a text `CHUNK_SECONDS` of its place: long
  texts take turns, and short ones do not wait for a long one to end.
- *Starvation-free*: a place in the queue is an instant, at most `PATIENCE_SECONDS` and the price of the chunks after
  waiting began; whoever begins to wait after that instant stands behind it, whatever their deadlines are.
- *Deadline-aware*: within that patience the nearest deadline goes first; what is past its deadline is not computed.
- *Computed once*: of texts whose next block is the same one goes ahead; the others find it in the next step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tandem.engine.text import CHUNK_TOKENS, TextSequence

PATIENCE_SECONDS = 1.0
"""For how long those with nearer deadlines may come first."""

CHUNK_SECONDS = 0.1
"""What a chunk costs a text of its place."""

IN_PASSING = 16
"""Pending tokens that a round brings along for nothing; what is longer counts against the chunk."""

MAX_BEGUN = 4
"""Long texts that take turns: each holds KV between its turns, so the next ones wait."""

MAX_SETBACKS = 2
"""How often KV may be taken from a text that is being read, before it is read at once: better that others wait for it
than that it never gets there."""


class Waiting(Protocol):
    """Whoever wants a round of its text."""

    waiting_since: float
    """By the monotonic clock; later by so much as its chunks have cost."""

    @property
    def sequence(self) -> TextSequence:
        """The text."""
        ...

    @property
    def round_deadline(self) -> float:
        """When nobody wants the round any more, by the same clock; infinity is never."""
        ...


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True, slots=True)
class Step(Generic[W]):
    """What the model does next."""

    rounds: list[W]
    """Whose rounds are run, with all that is pending of their texts, in one pass."""
    reading: tuple[W, int] | None
    """Of whose text so many tokens are read after that."""
    num_read: int
    """Tokens of the chunk that are used up by both."""


def next_step(waiting: Iterable[W], now: float, max_rows: int, chunk_tokens: int = CHUNK_TOKENS) -> Step[W]:
    """Chooses among those who wait; ``chunk_tokens`` 0 leaves all but rounds to a later step."""
    queue = sorted(waiting, key=lambda one: min(one.round_deadline, one.waiting_since + PATIENCE_SECONDS))
    num_begun = sum(one.sequence.is_begun for one in queue)
    rounds: list[W] = []
    reading: tuple[W, int] | None = None
    being_read: set[bytes] = set()
    left = chunk_tokens
    for one in queue:
        if one.round_deadline <= now:
            continue
        if len(rounds) == max_rows:
            break
        text = one.sequence
        text.adopt()
        if text.num_pending <= IN_PASSING:
            rounds.append(one)
            continue
        if left <= 0:
            continue
        block = text.next_key()
        if block is not None:
            if block in being_read:
                continue
            being_read.add(block)
        if text.num_pending <= left or text.num_setbacks >= MAX_SETBACKS:
            rounds.append(one)
            left -= min(left, text.num_pending)
        elif text.is_begun or num_begun < MAX_BEGUN:
            reading, left = (one, left), 0
            one.waiting_since += CHUNK_SECONDS
    return Step(rounds, reading, chunk_tokens - left)
