"""Texts that wait to be scored, in turns: a chunk of tokens a step, so that no round waits for more than that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from tandem.engine.scheduler import MAX_BEGUN
from tandem.engine.scoring import ScoredText, Scorer
from tandem.engine.text import CHUNK_TOKENS
from tandem.errors import DeadlineExceeded, OutOfKV, Overloaded
from tandem.telemetry import logger
from verify_service.events import NotScored, Score, Scored, Ticket

MAX_EVICTIONS = 8
"""How often a text's KV may be taken before it is given up: the pool is too small for all that is wanted of it."""

_log = logger("verify_service.scores")


@dataclass(slots=True)
class _Waiting:
    asked: Score
    text: ScoredText
    begun: bool = False


class Scores:
    """The queue. Runs in the model thread; those whose turn it is stand first."""

    def __init__(self, scorer: Scorer, max_waiting: int) -> None:
        self._scorer = scorer
        self._max_waiting = max_waiting
        self._queue: OrderedDict[Ticket, _Waiting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, asked: Score) -> None:
        """Lets a text wait for its turns.

        Raises:
            Overloaded: too many wait.
        """
        if len(self._queue) >= self._max_waiting:
            raise Overloaded(f"{self._max_waiting} texts wait to be scored; no more are taken now")
        self._queue[asked.ticket] = _Waiting(asked, self._scorer.open(asked.token_ids, asked.num_top))

    def drop(self, ticket: Ticket) -> None:
        """Stops work on a text; of one that is done, nothing changes."""
        waiting = self._queue.pop(ticket, None)
        if waiting is not None:
            self._scorer.close(waiting.text)

    def expire(self, now: float) -> Iterator[NotScored]:
        """Gives up texts whose deadline has passed."""
        for ticket in [ticket for ticket, waiting in self._queue.items() if waiting.asked.deadline <= now]:
            self.drop(ticket)
            yield NotScored(ticket, DeadlineExceeded("the request's deadline passed before the text was scored"))

    def step(self) -> list[Scored | NotScored]:
        """Reads one chunk; what is done, or failed, by it."""
        turn = self._next_turn()
        try:
            results = self._scorer.advance([(waiting.text, count) for waiting, count in turn])
        except Exception as error:
            _log.error("scoring failed", exc_info=error)
            return [self._failed(waiting, error) for waiting, _ in turn]
        answers: list[Scored | NotScored] = []
        for (waiting, _), failure in zip(turn, results, strict=True):
            if failure is not None:
                answers.append(self._failed(waiting, failure))
            elif waiting.text.finished:
                answers.append(Scored(waiting.asked.ticket, waiting.text.scores))
                self.drop(waiting.asked.ticket)
            elif waiting.text.num_evicted > MAX_EVICTIONS:
                crowded = OutOfKV("the text's KV was taken again and again by what is being generated; try again later")
                answers.append(self._failed(waiting, crowded))
            else:
                self._queue.move_to_end(waiting.asked.ticket)
        return answers

    def close(self) -> None:
        """Frees every text."""
        for ticket in list(self._queue):
            self.drop(ticket)

    def fail_all(self, error: Exception) -> list[NotScored]:
        """Gives every text up."""
        return [self._failed(waiting, error) for waiting in list(self._queue.values())]

    def _failed(self, waiting: _Waiting, error: Exception) -> NotScored:
        self.drop(waiting.asked.ticket)
        return NotScored(waiting.asked.ticket, error)

    def _next_turn(self) -> list[tuple[_Waiting, int]]:
        """Whose tokens the next step reads, and how many: the first in the queue first."""
        left = CHUNK_TOKENS
        num_begun = sum(waiting.begun for waiting in self._queue.values())
        turn: list[tuple[_Waiting, int]] = []
        for waiting in self._queue.values():
            count = min(left, waiting.text.num_pending)
            if count < waiting.text.num_pending and not waiting.begun:
                if num_begun >= MAX_BEGUN:
                    continue  # a shorter one behind it may fit
                waiting.begun, num_begun = True, num_begun + 1
            turn.append((waiting, count))
            left -= count
            if not left:
                break
        return turn
