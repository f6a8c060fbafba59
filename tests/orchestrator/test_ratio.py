"""How many draft replicas a verify replica is worth, and what an orchestrator says of its replicas."""

from __future__ import annotations

from orchestrator.ratio import Ratio
from tandem.decoding.values import Outcome, StageTimings
from tests.orchestrator.conftest import Stage
from tests.support.redis_server import free_port
from tests.support.waiting import until


def outcome(draft_seconds: float, forward_seconds: float, judge_seconds: float = 0.0) -> Outcome:
    timings = StageTimings(draft_seconds, 0.0, forward_seconds, judge_seconds, 0.0)
    return Outcome((1,), 0, 4, (-1.0,), timings=timings)


def test_it_is_the_time_of_drafting_over_that_of_judging() -> None:
    ratio = Ratio()
    assert ratio.value == 0.0
    ratio.note(outcome(0.0, 0.02))  # decoded alone
    assert ratio.value == 0.0
    ratio.note(outcome(0.01, 0.015, 0.005))
    assert abs(ratio.value - 0.5) < 1e-9
    ratio.note(outcome(0.03, 0.015, 0.005))
    assert abs(ratio.value - 1.0) < 1e-9


async def test_replicas_are_counted_by_how_they_stand(stage: Stage) -> None:
    verify, other = await stage.verify(), await stage.verify(tokenizer_digest="other")
    served = await stage.orchestrator([verify, other, f"127.0.0.1:{free_port()}"], [await stage.draft()])
    count = lambda role, state: served.metric("replicas", role=role, state=state)  # noqa: E731
    await until(lambda: count("verify", "down") == 1)
    assert [count("verify", state) for state in ("accepted", "refused", "connecting", "leaving")] == [1, 1, 0, 0]
    assert [count("draft", state) for state in ("accepted", "down")] == [1, 0]
    await verify.stop()
    await until(lambda: count("verify", "down") == 2)
