"""Has every contender answer, by turns, and records it.

A group is one repetition at one concurrency: all contenders answer one after another, the first one changing from
repetition to repetition, so that a machine whose speed drifts moves all alike. A group is recorded when it is whole; a
run that was stopped goes on with the first that is not.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem.bench import records
from tandem.bench.contender import Answer, Ask, Contender
from tandem.bench.ours import Services
from tandem.bench.plan import Plan
from tandem.bench.records import Cell, Group, Text
from tandem.bench.requests import WARM_UP, Requests
from tandem.bench.stages import rounds_of
from tandem.errors import InvariantBroken

Progress = Callable[[str, int, int], None]
"""Told what is under way, how many turns are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A contender, and which set of a group's requests it answers.

    Contenders that share a server answer different sets: what it keeps of a prompt must not help the next one.
    """

    contender: Contender
    number: int = 0


class Runner:
    """One run."""

    def __init__(
        self,
        plan: Plan,
        entries: Sequence[Entry],
        traced: tuple[Services, int] | None,
        requests: Requests,
        folder: Path,
        resident: Callable[[], tuple[tuple[str, int], ...]],
    ) -> None:
        """Groups go to ``folder``; ``traced`` answers a set of its own with rounds, where there is a stack."""
        self._plan = plan
        self._entries = entries
        self._traced = traced
        self._requests = requests
        self._folder = folder
        self._resident = resident

    async def run(self, told: Progress) -> None:
        """Measures what is missing.

        Raises:
            TandemError: somebody cannot answer. What was recorded stays, and another run goes on from there.
        """
        recorded = {(group.repetition, group.concurrency) for group in records.read(self._folder)}
        order = [(repetition, level) for repetition in range(self._plan.repetitions) for level in self._plan.levels]
        at = {level: [each for each in self._entries if each.contender.serves(level)] for level in self._plan.levels}
        total, done = sum(len(at[level]) for _, level in order), 0
        warm: set[int] = set()
        for repetition, level in order:
            if (repetition, level) not in recorded:
                if level not in warm:
                    told(f"warming up at {level}", done, total)
                    await self._warm_up(level, at[level])
                    warm.add(level)
                cells = {}
                first = repetition % len(at[level])
                for number, entry in enumerate([*at[level][first:], *at[level][:first]]):
                    told(f"{level} at once: {entry.contender.name}", done + number, total)
                    cells[entry.contender.name] = await self._cell(repetition, level, entry)
                in_order = tuple(cells[entry.contender.name] for entry in at[level])
                rounds = await self._trace(repetition, level)
                group = Group(repetition, level, in_order, rounds, self._resident())
                await asyncio.to_thread(records.append, self._folder, group)
            done += len(at[level])
            told("measuring", done, total)

    async def _trace(self, repetition: int, concurrency: int) -> tuple[dict[str, float], ...]:
        if self._traced is None:
            return ()
        services, number = self._traced
        asks = self._requests.of(repetition, concurrency, number)
        return tuple(rounds_of(await services.answer(asks, concurrency, trace=True)))

    async def _cell(self, repetition: int, concurrency: int, entry: Entry) -> Cell:
        asks = self._requests.of(repetition, concurrency, entry.number)
        gc.collect()
        began = time.perf_counter()
        answers = await entry.contender.answer(asks, concurrency)
        seconds = time.perf_counter() - began
        check_answers(entry.contender.name, asks, answers)
        return Cell(entry.contender.name, entry.number, seconds, tuple(map(Text.of, answers)))

    async def _warm_up(self, concurrency: int, entries: Sequence[Entry]) -> None:
        for entry in entries:
            asks = self._requests.of(WARM_UP, concurrency, entry.number)
            check_answers(entry.contender.name, asks, await entry.contender.answer(asks, concurrency))


def check_answers(name: str, asks: Sequence[Ask], answers: Sequence[Answer]) -> None:
    """Nobody is timed who did less than the others, or more.

    Raises:
        InvariantBroken: an answer has another number of tokens than was asked for, or its arrivals do not add up.
    """
    if len(answers) != len(asks):
        raise InvariantBroken(f"{name} gave {len(answers)} answers to {len(asks)} requests")
    for ask, answer in zip(asks, answers, strict=True):
        arrived = sum(arrival.num_tokens for arrival in answer.arrivals)
        if not ask.num_tokens == len(answer.token_ids) == arrived:
            raise InvariantBroken(
                f"{name} answered {len(answer.token_ids)} tokens, {arrived} of them timed, where {ask.num_tokens} were "
                "asked for"
            )
