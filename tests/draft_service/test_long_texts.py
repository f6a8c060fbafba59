"""Long texts are read a chunk at a time between the drafts for others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from prometheus_client import CollectorRegistry

from draft_service.drafter import Drafter, Limits
from draft_service.events import (
    AskVerdict,
    Committed,
    Ended,
    Grant,
    Judged,
    LeaseStream,
    Outgoing,
    ToOrchestrator,
    ToVerify,
)
from draft_service.metrics import DraftMetrics
from tandem.decoding.values import Outcome, RunningDigest
from tandem.decoding.warp import Candidates
from tandem.engine.scheduler import IN_PASSING
from tandem.engine.text import CHUNK_TOKENS
from tandem.engine.tree_model import Row
from tandem.errors import OutOfKV
from tandem.model_thread import Outlet
from tests.support.model_services import DRAFT, decoding, fence, hosted
from tests.support.tabular import TabularModel

LONG = 4 * CHUNK_TOKENS + 100
MTAD = decoding("mtad", max_position=20_000)


class NotingModel(TabularModel):
    """Notes what each pass reads."""

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__(DRAFT, capacity)
        self.passes: list[list[int]] = []

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        self.passes.append([len(row.token_ids) for row in rows])
        return super().candidates(rows, width, num_top)


class Desk:
    """A drafter that works when it is told to, and what it says."""

    def __init__(self, model: NotingModel) -> None:
        self.model = model
        self.said: list[Outgoing] = []
        outlet: Outlet[Outgoing] = Outlet(asyncio.get_running_loop(), self.said.extend)
        served = replace(hosted(DRAFT, model), max_positions=20_000)
        self.drafter = Drafter(served, Limits(), outlet, DraftMetrics(CollectorRegistry()))

    def grant(self, session_id: str, text: list[int]) -> None:
        self.drafter.handle(
            Grant(LeaseStream(), session_id, fence(), MTAD, text, "verify:1", 0.0, 30.0, math.inf),
        )

    async def step(self) -> list[Outgoing]:
        """What one step sends, after what orchestrator and verify replica are told of it."""
        self.drafter.work()
        await asyncio.sleep(0)
        said, self.said[:] = list(self.said), []
        return said


def asked(said: Sequence[Outgoing]) -> list[AskVerdict]:
    return [item.request for item in said if isinstance(item, ToVerify) and isinstance(item.request, AskVerdict)]


async def test_drafts_for_others_wait_for_one_chunk_at_most() -> None:
    desk = Desk(NotingModel())
    long, short = np.random.default_rng(1).integers(0, 8, LONG).tolist(), [1, 2, 3]
    desk.grant("long", long)
    desk.grant("short", short)
    num_steps, sessions = 0, list[str]()
    while "long" not in sessions:
        num_steps += 1
        questions = asked(await desk.step())
        sessions += [question.name.session_id for question in questions]
        assert questions[0].name.session_id == "short"  # in every step
        short.append(1)
        told = Outcome((1,), 0, 3, (0.0,), RunningDigest(short).value)
        desk.drafter.handle(Judged(questions[0].name, told))
        desk.drafter.handle(Committed("short", fence(), len(short)))
    assert num_steps == LONG // CHUNK_TOKENS + 1
    for sizes in desk.model.passes:
        assert sum(size for size in sizes if size > IN_PASSING) <= CHUNK_TOKENS
    desk.drafter.close()


async def test_a_long_text_that_can_never_fit_ends_its_own_lease() -> None:
    desk = Desk(NotingModel(capacity=2 * CHUNK_TOKENS))
    desk.grant("long", [1] * LONG)
    said = [item for _ in range(3) for item in await desk.step()]
    (ended,) = (item.answer for item in said if isinstance(item, ToOrchestrator))
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, OutOfKV)
    desk.grant("short", [1, 2])
    assert [question.name.session_id for question in asked(await desk.step())] == ["short"]
    desk.drafter.close()
