"""Sessions of all four methods, kept running while faults happen, and held against an undisturbed run."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tandem.client import AsyncClient
from tandem.client.attempts import Patience
from tandem.errors import DataLoss, TandemError, Unavailable
from tandem.generation import Generation, Options

METHODS = ("autoregressive", "coupled", "mtad", "speculative")
DRAFTED = ("mtad", "speculative")
"""Those whose text is another where nothing is drafted."""

NUM_TOKENS = 96
_UNDISTURBED: dict[bool, dict[Ask, Generation]] = {False: {}, True: {}}
"""What each request's text is when nothing happens: learnt once a process, by whichever stage comes first; of the
tables, and of the shipped pair.
"""

REFUSED_SECONDS = 0.1
"""After which somebody who was refused asks for something else."""

PATIENCE = Patience(start_seconds=20.0, resume_seconds=30.0)


@dataclass(frozen=True)
class Ask:
    """A request; its text is fixed by it."""

    method: str
    seed: int
    draft_length: int
    num_tokens: int = NUM_TOKENS
    prompt: tuple[int, ...] = (1, 2, 3)

    @property
    def options(self) -> Options:
        return {
            "method": self.method,
            "seed": self.seed,
            "draft_length": self.draft_length,
            "beam_width": 2,
            "threshold": 0.3 if self.method == "mtad" else None,
            "top_k": 0,
            "top_p": 1.0,
            "max_tokens": self.num_tokens,
            "ignore_eos": True,
        }


def asks(seeds: Sequence[int], methods: Sequence[str] = METHODS, num_tokens: int = NUM_TOKENS) -> list[Ask]:
    """Requests of every method, by turns; their draft lengths differ."""
    return [Ask(method, seed, 1 + (seed + 2) % 5, num_tokens) for seed in seeds for method in methods]


@dataclass(eq=False)
class Followed:
    """A session as its client sees it."""

    ask: Ask
    began: float
    arrivals: list[float] = field(default_factory=list)
    """When each part arrived."""
    token_ids: list[int] = field(default_factory=list)
    ended: float | None = None
    may_be_lost: bool = False
    """Both the store and the orchestrator have forgotten it, by the row's design."""
    may_be_refused: bool = False
    """It was begun while the store took nothing, by the row's design."""
    may_differ_from: int | None = None
    """Generated tokens from which on no more is promised than a whole text: there was no drafter for a while."""

    def excuse(self) -> None:
        """Promises no more for the rest than a whole text, where the method depends on drafting."""
        if self.ask.method in DRAFTED and self.may_differ_from is None:
            self.may_differ_from = len(self.token_ids)

    def longest_gap(self, since: float) -> float:
        """The longest wait for a part that ended after ``since``, in seconds."""
        times = [self.began, *self.arrivals, *([self.ended] if self.ended is not None else [])]
        return max((b - a for a, b in itertools.pairwise(times) if b > since), default=0.0)

    def has_moved_on(self, since: float, num_parts: int) -> bool:
        return self.ended is not None or sum(arrival > since for arrival in self.arrivals[-num_parts:]) >= num_parts


@dataclass
class Tally:
    """What became of the sessions."""

    num_sessions: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Ended in DATA_LOSS where that is all that can be done."""
    num_refused: int = 0
    """Ended in UNAVAILABLE before they had begun, where that is all that can be done."""


class Load:
    """Requests sent over and over, so many at a time. The first run of each must be undisturbed: `learn`."""

    def __init__(
        self,
        addresses: Sequence[str],
        wanted: Sequence[Ask],
        *,
        shipped: bool = False,
        patience: Patience = PATIENCE,
    ) -> None:
        self.tally = Tally()
        self.live: set[Followed] = set()
        self.expected = _UNDISTURBED[shipped]
        self.client = AsyncClient(addresses, patience)
        self._wanted = list(wanted)
        self._turns = itertools.cycle(self._wanted)
        self._stopping = False
        self.without_drafters = False
        """Whether, for now, methods whose text depends on drafting are excused from it."""
        self.unsaved = False
        """Whether sessions that begin now will be forgotten."""
        self.refusing = False
        """Whether sessions that begin now cannot be stored."""
        self.longest_wait = 0.0
        """The longest that a session which has ended waited for a part, in seconds."""

    def excuse_drafted(self) -> None:
        """From now on no drafter may be there, so that drafted texts may go on otherwise."""
        self.without_drafters = True
        for followed in self.live:
            followed.excuse()

    def forget_new(self) -> None:
        """What the store does not have by now will be forgotten, until ``unsaved`` is unset."""
        self.unsaved = True
        for followed in self.live:
            followed.may_be_lost = not followed.arrivals

    def refuse_new(self) -> None:
        """What has not begun by now may be told so, as may what begins until ``refusing`` is unset."""
        self.refusing = True
        for followed in self.live:
            followed.may_be_refused = not followed.arrivals

    async def learn(self, width: int = 8) -> None:
        """The undisturbed run: what each request's text is."""
        room = asyncio.Semaphore(width)

        async def one(ask: Ask) -> None:
            async with room:
                self.expected[ask] = await self.client.generate(ask.prompt, **ask.options)

        await asyncio.gather(*(one(ask) for ask in self._wanted if ask not in self.expected))

    @asynccontextmanager
    async def running(self, width: int) -> AsyncIterator[None]:
        """Keeps ``width`` sessions running; at the block's end, waits until the last have ended."""
        self._stopping = False
        async with asyncio.TaskGroup() as workers:
            for _ in range(width):
                workers.create_task(self._work())
            try:
                yield
            finally:
                self._stopping = True

    async def follow(self, ask: Ask) -> None:
        """Generates one text and compares it with the undisturbed one."""
        followed = Followed(ask, time.monotonic())
        followed.may_be_lost, followed.may_be_refused = self.unsaved, self.refusing
        if self.without_drafters:
            followed.excuse()
        self.live.add(followed)
        self.tally.num_sessions += 1
        try:
            async with self.client.stream(ask.prompt, **ask.options) as stream:
                async for part in stream:
                    followed.arrivals.append(time.monotonic())
                    followed.token_ids += part.token_ids
            self.compare(followed, stream.generation)
        except TandemError as error:
            if followed.may_be_refused and isinstance(error, Unavailable) and not followed.arrivals:
                self.tally.num_sessions -= 1
                self.tally.num_refused += 1
                await asyncio.sleep(REFUSED_SECONDS)
                return
            lost = followed.may_be_lost and isinstance(error, DataLoss)
            kept = self.tally.lost if lost else self.tally.failed
            kept.append(f"{ask}: {type(error).__name__}: {error}")
        finally:
            followed.ended = time.monotonic()
            self.longest_wait = max(self.longest_wait, followed.longest_gap(0.0))
            self.live.discard(followed)

    def compare(self, followed: Followed, made: Generation) -> None:
        """Counts a finished text that is not what it must be."""
        ask, expected = followed.ask, self.expected[followed.ask]
        if (free_from := followed.may_differ_from) is not None:
            same = tuple(followed.token_ids[:free_from]) == expected.token_ids[:free_from]
            if not same or not len(followed.token_ids) == len(made.token_ids) == ask.num_tokens:
                self.tally.wrong.append(f"{ask}: not a whole text (session {made.session_id})")
        elif tuple(followed.token_ids) != expected.token_ids:
            at = next(
                (i for i, (a, b) in enumerate(zip(followed.token_ids, expected.token_ids, strict=False)) if a != b),
                min(len(followed.token_ids), len(expected.token_ids)),
            )
            self.tally.wrong.append(f"{ask}: another text from token {at} on (session {made.session_id})")
        elif (made.token_ids, made.text, made.finish_reason) != (
            expected.token_ids,
            expected.text,
            expected.finish_reason,
        ):
            self.tally.wrong.append(f"{ask}: the parts are right and the whole is not (session {made.session_id})")

    async def _work(self) -> None:
        while not self._stopping:
            await self.follow(next(self._turns))

    async def settled(self, sessions: set[Followed], since: float, seconds: float, num_parts: int = 3) -> float:
        """Waits until each of ``sessions`` has moved on by some parts; the longest any of them waited for one.

        Raises:
            AssertionError: one did not in time.
        """
        deadline = since + seconds
        while not all(session.has_moved_on(since, num_parts) for session in sessions):
            stuck = [session.ask for session in sessions if not session.has_moved_on(since, num_parts)]
            assert time.monotonic() < deadline, f"{len(stuck)} sessions stand still, such as {stuck[0]}"
            await asyncio.sleep(0.002)
        return max((session.longest_gap(since) for session in sessions), default=0.0)
