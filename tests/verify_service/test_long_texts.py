"""Long texts are read a chunk at a time between the rounds of others, and texts to be scored take turns with them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from prometheus_client import CollectorRegistry

from tandem.decoding.scored import Scored
from tandem.decoding.values import Ids
from tandem.decoding.warp import Candidates
from tandem.engine.scheduler import IN_PASSING
from tandem.engine.text import CHUNK_TOKENS
from tandem.engine.tree_model import Row
from tandem.errors import DeadlineExceeded, OutOfKV
from tandem.model_thread import Outlet
from tests.support.judging import draft, name_of
from tests.support.model_services import TARGET, decoding, fence, hosted
from tests.support.tabular import TabularModel
from verify_service.events import Open, Refused, Round, Said, Score, Stream, Ticket, Verdict
from verify_service.judge import Judge
from verify_service.metrics import VerifyMetrics
from verify_service.sessions import Limits

LONG = 5 * CHUNK_TOKENS + 100
MTAD = decoding("mtad", max_position=20_000)


class NotingModel(TabularModel):
    """Notes what each pass reads."""

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__(TARGET, capacity)
        self.passes: list[tuple[str, list[int]]] = []

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        found = super().candidates(rows, width, num_top)
        self.passes.append(("rounds" if len(found.ids) else "chunk", [len(row.token_ids) for row in rows]))
        return found

    def score(self, rows: Sequence[Row], next_ids: Ids, num_top: int) -> Scored:
        self.passes.append(("scores", [len(row.token_ids) for row in rows]))
        return super().score(rows, next_ids, num_top)


class Desk:
    """A judge that works when it is told to, and what it says."""

    def __init__(self, model: NotingModel) -> None:
        self.model = model
        self.said: list[Said] = []
        outlet: Outlet[Said] = Outlet(asyncio.get_running_loop(), self.said.extend)
        served = replace(hosted(TARGET, model), max_positions=20_000)
        self.judge = Judge(served, Limits(), outlet, VerifyMetrics(CollectorRegistry()))
        self.stream = Stream(decodes=False)

    def open(self, session_id: str, text: list[int], deadline: float = math.inf) -> None:
        self.judge.handle(Open(self.stream, session_id, fence(), MTAD, text, deadline))

    def ask(self, session_id: str, text: list[int], deadline: float = math.inf) -> None:
        name = name_of(text, session_id=session_id)
        self.judge.handle(Round(self.stream, name, draft(text, MTAD), False, len(text), 0.0, deadline))

    async def step(self) -> list[object]:
        """One step's answers."""
        self.judge.work()
        await asyncio.sleep(0)
        said, self.said[:] = list(self.said), []
        return [item[1] if isinstance(item, tuple) else item for item in said]


def text_of(length: int, seed: int = 1) -> list[int]:
    return np.random.default_rng(seed).integers(0, 8, length).tolist()


async def test_rounds_of_others_wait_for_one_chunk_at_most() -> None:
    desk = Desk(NotingModel())
    long, short = text_of(LONG), [1, 2, 3]
    desk.open("long", long)
    desk.open("short", short)
    desk.ask("long", long)
    verdicts: list[str] = []
    while "long" not in verdicts:
        desk.ask("short", short)
        answers = await desk.step()
        found = [answer for answer in answers if isinstance(answer, Verdict)]
        verdicts += [verdict.name.session_id for verdict in found]
        assert found[0].name.session_id == "short"  # in every step
        short += found[0].outcome.token_ids
    assert len(verdicts) == len(long) // CHUNK_TOKENS + 2
    for kind, sizes in desk.model.passes:
        assert sum(size for size in sizes if size > IN_PASSING) <= CHUNK_TOKENS
        assert kind == "rounds" or sizes == [CHUNK_TOKENS]
    desk.judge.close()


async def test_a_long_text_whose_deadline_passes_is_read_no_further() -> None:
    desk = Desk(NotingModel())
    long = text_of(LONG)
    desk.open("long", long)
    desk.ask("long", long, deadline=asyncio.get_running_loop().time() + 0.1)
    await desk.step()
    read = desk.model.num_fed
    assert read == CHUNK_TOKENS
    await asyncio.sleep(0.1)
    answers = await desk.step()
    assert isinstance(answers[-1], Refused)
    assert isinstance(answers[-1].error, DeadlineExceeded)
    assert desk.model.num_fed == read
    desk.judge.close()


async def test_texts_to_be_scored_and_long_texts_take_turns() -> None:
    desk = Desk(NotingModel())
    long = text_of(LONG)
    desk.open("long", long)
    desk.ask("long", long)
    desk.judge.handle(Score(Ticket(), text_of(LONG, 2), 0, math.inf))
    while not any(isinstance(answer, Verdict) for answer in await desk.step()):
        pass
    kinds = [kind for kind, _ in desk.model.passes]
    assert kinds == ["chunk", "scores"] * 5 + ["rounds"]
    desk.judge.close()


async def test_a_long_text_that_can_never_fit_is_refused_when_that_is_clear() -> None:
    desk = Desk(NotingModel(capacity=2 * CHUNK_TOKENS + 50))
    long = text_of(LONG)
    desk.open("long", long)
    desk.ask("long", long)
    answers = [answer for _ in range(3) for answer in await desk.step()]
    assert isinstance(answers[-1], Refused)
    assert isinstance(answers[-1].error, OutOfKV)
    desk.open("short", [1, 2])
    desk.ask("short", [1, 2])
    assert isinstance((await desk.step())[-1], Verdict)
    desk.judge.close()
