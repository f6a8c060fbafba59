"""Sessions on a replica that has become slow: they go on elsewhere, and their texts are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tandem.decoding.values import StageTimings
from tests.orchestrator.conftest import SCRIPT, Served, Stage
from tests.support.replicas import Replica
from tests.support.waiting import until

LENGTH = 450
WHOLE = (SCRIPT * 10)[:LENGTH]

FAST = StageTimings(draft_seconds=0.02, forward_seconds=0.02, verify_round_trip_seconds=0.021)
SLOW_DRAFT = StageTimings(draft_seconds=0.2, forward_seconds=0.02, verify_round_trip_seconds=0.021)
SLOW_VERIFY = StageTimings(draft_seconds=0.02, forward_seconds=0.2, verify_round_trip_seconds=0.201)


async def reading(served: Served, replicas: Sequence[Replica], count: int) -> list[asyncio.Task[tuple[int, ...]]]:
    """So many sessions, under way on all of the replicas."""

    async def read() -> tuple[int, ...]:
        return (await served.text(max_tokens=LENGTH)).token_ids

    tasks = [asyncio.create_task(read()) for _ in range(count)]
    await until(lambda: all(replica.num_rounds >= 20 for replica in replicas))
    return tasks


async def test_a_slow_draft_replica_is_left(stage: Stage) -> None:
    verify, drafts = await stage.verify(), [await stage.draft(), await stage.draft()]
    served = await stage.orchestrator([verify], drafts)
    for draft in drafts:
        draft.round_seconds, draft.timings = 0.03, FAST
    tasks = await reading(served, drafts, 6)
    slow, other = drafts
    slow.timings = SLOW_DRAFT
    await until(lambda: len(other.opened) == 6)
    await until(lambda: not slow.runs)  # it was told
    assert served.metric("recoveries_total", cause="slow") == 3
    assert served.metric("replica_ejections_total", role="draft") == 1
    assert served.metric("replicas_ejected", role="draft") == 1
    begun = await served.text()
    assert begun.token_ids == SCRIPT[:20]
    assert {run.fence.epoch for run in other.opened} == {1, 2}
    assert len(slow.opened) == 3
    assert {await task for task in tasks} == {WHOLE}
    assert not verify.opened  # nobody had to decode without a drafter


async def test_a_slow_verify_replica_is_left_and_the_drafters_are_kept(stage: Stage) -> None:
    verifies, drafts = [await stage.verify(), await stage.verify()], [await stage.draft(), await stage.draft()]
    served = await stage.orchestrator(verifies, drafts)
    for draft in drafts:
        draft.round_seconds, draft.timings = 0.03, FAST
    tasks = await reading(served, drafts, 6)
    # Each drafter's sessions are all on one verify replica: that is how they are spread where they begin by turns.
    drafts[0].timings = SLOW_VERIFY
    await until(lambda: len(drafts[0].opened) == 6)
    drafts[0].timings = FAST
    assert {await task for task in tasks} == {WHOLE}
    assert served.metric("replica_ejections_total", role="verify") == 1
    assert served.metric("replica_ejections_total", role="draft") == 0
    assert len(drafts[1].opened) == 3


async def test_the_only_one_is_kept(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    served = await stage.orchestrator([verify], [draft])
    draft.round_seconds, draft.timings = 0.03, FAST
    tasks = await reading(served, [draft], 2)
    draft.timings = SLOW_DRAFT
    assert {await task for task in tasks} == {WHOLE}
    assert len(draft.opened) == 2


async def test_nobody_leaves_where_it_is_turned_off(stage: Stage) -> None:
    verify, drafts = await stage.verify(), [await stage.draft(), await stage.draft()]
    served = await stage.orchestrator([verify], drafts, slow_factor=0)
    for draft in drafts:
        draft.round_seconds, draft.timings = 0.03, FAST
    tasks = await reading(served, drafts, 2)
    drafts[0].timings = SLOW_DRAFT
    assert {await task for task in tasks} == {WHOLE}
    assert served.metric("recoveries_total", cause="slow") == 0
