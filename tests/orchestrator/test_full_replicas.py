"""Replicas that have no room: the session goes elsewhere, or waits, and does not wear anybody out."""

from __future__ import annotations

import asyncio
import time

import grpc

from tandem.errors import Overloaded
from tests.orchestrator.conftest import SCRIPT, Stage

FULL = Overloaded("1 session is served here; no more are taken now")


async def test_another_replica_is_asked_at_once(stage: Stage) -> None:
    full, free = await stage.verify(), await stage.verify()
    full.refusal = FULL
    served = await stage.orchestrator([full, free])
    texts = await asyncio.gather(*(served.text() for _ in range(6)))
    assert {text.token_ids for text in texts} == {SCRIPT[:20]}
    assert full.opened
    assert served.metric("recoveries_total", cause="Overloaded") == len(full.opened)


async def test_a_full_draft_replica_is_done_without(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    draft.refusal = FULL
    served = await stage.orchestrator([verify], [draft])
    text = await served.text()
    assert text.token_ids == SCRIPT[:20]
    assert len(draft.opened) == 1
    assert text.finished.usage.num_draft_tokens == 0


async def test_a_session_waits_for_room(stage: Stage) -> None:
    verify = await stage.verify()
    verify.refusal = FULL
    served = await stage.orchestrator([verify])
    waiting = asyncio.create_task(served.text())
    await asyncio.sleep(1.5)
    num_asked = len(verify.opened)
    assert 2 <= num_asked <= 6  # ever more rarely
    verify.refusal = None
    assert (await waiting).token_ids == SCRIPT[:20]


async def test_and_not_for_ever(stage: Stage) -> None:
    verify = await stage.verify()
    verify.refusal = FULL
    served = await stage.orchestrator([verify], recovery_timeout=0.5)
    began = time.monotonic()
    error = await served.refusal()
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert float(dict(error.trailing_metadata())["retry-after-seconds"]) == 1
    assert time.monotonic() - began > 0.5
    assert len(verify.opened) < 8


async def test_many_that_wait_ask_no_more_often_than_the_budget_allows(stage: Stage) -> None:
    verify = await stage.verify()
    verify.refusal = FULL
    served = await stage.orchestrator([verify])
    waiting = [asyncio.create_task(served.text()) for _ in range(30)]
    await asyncio.sleep(1.5)
    # One try each, and then hardly more than one a second each: the first, quick ones are bought by a few.
    assert len(verify.opened) <= 30 * 5
    verify.refusal = None
    texts = await asyncio.gather(*waiting)
    assert {text.token_ids for text in texts} == {SCRIPT[:20]}
