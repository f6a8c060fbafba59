"""Turns, and runs that were stopped, with contenders that answer at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tandem.bench import records
from tandem.bench.contender import Answer, Arrival, Ask
from tandem.bench.plan import Plan
from tandem.bench.requests import WARM_UP_TOKENS, Requests
from tandem.bench.runner import Entry, Runner
from tandem.errors import InvariantBroken, Unavailable
from tandem.models import shipped
from tandem.tokenization import Tokenizer

PLAN = Plan(concurrency=(1, 2), repetitions=2, requests=2, max_tokens="5-7")


class Scripted:
    """Writes the same token again and again, and notes when it was asked."""

    def __init__(self, name: str, turns: list[tuple[str, int, int]], *, most: int = 2) -> None:
        self.name = name
        self.asked: list[Sequence[Ask]] = []
        self.failing_after = 1000
        self.lacks = 0
        self._turns = turns
        self._most = most

    def serves(self, concurrency: int) -> bool:
        return concurrency <= self._most

    async def answer(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        if len(self.asked) == self.failing_after:
            raise Unavailable("gone")
        self.asked.append(asks)
        if asks[0].num_tokens != WARM_UP_TOKENS:
            self._turns.append((self.name, concurrency, len(asks)))
        lengths = [ask.num_tokens - self.lacks for ask in asks]
        return [Answer((7,) * length, (Arrival(0.1, length),)) for length in lengths]

    async def close(self) -> None: ...


@pytest.fixture(scope="module")
def requests() -> Requests:
    return Requests(PLAN, Tokenizer.from_pretrained(str(shipped("target"))), 2)


async def run(folder: Path, contenders: Sequence[Scripted], requests: Requests) -> list[tuple[str, int, int]]:
    """What progress was told, the last for each number of turns."""
    told: list[tuple[str, int, int]] = []
    entries = [Entry(contender) for contender in contenders]
    runner = Runner(PLAN, entries, None, requests, folder, lambda: (("verify", 1),))
    await runner.run(lambda *each: told.append(each))
    return told


async def test_contenders_take_turns_on_the_same_requests(requests: Requests, tmp_path: Path) -> None:
    turns: list[tuple[str, int, int]] = []
    one, other, alone = Scripted("a", turns), Scripted("b", turns), Scripted("c", turns, most=1)
    told = await run(tmp_path, [one, other, alone], requests)
    first = [("a", 1, 2), ("b", 1, 2), ("c", 1, 2), ("a", 2, 2), ("b", 2, 2)]
    second = [("b", 1, 2), ("c", 1, 2), ("a", 1, 2), ("b", 2, 2), ("a", 2, 2)]
    assert turns == first + second
    assert one.asked == other.asked
    assert [told[0][1:], told[-1]] == [(0, 10), ("measuring", 10, 10)]
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    groups = records.read(tmp_path)
    assert [(group.repetition, group.concurrency) for group in groups] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    asked = {ask.num_tokens for asks in one.asked for ask in asks} - {WARM_UP_TOKENS}
    assert asked <= {5, 6, 7}
    counted = sum(cell.num_tokens for group in groups for cell in group.cells if cell.contender == "a")
    assert counted == sum(ask.num_tokens for asks in one.asked for ask in asks if ask.num_tokens != WARM_UP_TOKENS)


async def test_a_run_that_was_stopped_goes_on_with_the_group_it_was_in(requests: Requests, tmp_path: Path) -> None:
    turns: list[tuple[str, int, int]] = []
    one, other = Scripted("a", turns), Scripted("b", turns)
    other.failing_after = 3  # warm-up and turn at 1, warm-up at 2
    with pytest.raises(Unavailable):
        await run(tmp_path, [one, other], requests)
    whole = (tmp_path / records.FILE_NAME).read_bytes()
    assert len(records.read(tmp_path)) == 1
    again: list[tuple[str, int, int]] = []
    told = await run(tmp_path, [Scripted("a", again), Scripted("b", again)], requests)
    assert again[:2] == [("a", 2, 2), ("b", 2, 2)]
    assert len(again) == 6
    assert told[0][1] == 2
    assert (tmp_path / records.FILE_NAME).read_bytes().startswith(whole)
    assert len(records.read(tmp_path)) == 4


async def test_who_does_less_than_the_others_is_not_timed(requests: Requests, tmp_path: Path) -> None:
    short = Scripted("a", [])
    short.lacks = 1
    with pytest.raises(InvariantBroken, match="a answered 7 tokens, 7 of them timed, where 8 were"):
        await run(tmp_path, [short], requests)
    assert records.read(tmp_path) == ()
