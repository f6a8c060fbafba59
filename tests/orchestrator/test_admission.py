"""Who is let in, who waits, who is refused; and that refusing costs nothing of what serving needs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from orchestrator.admission import Admission, Place, Room
from orchestrator.metrics import Metrics
from orchestrator.pace import Pace
from tandem.errors import DeadlineExceeded, InvalidArgument, Overloaded, Unavailable
from tandem.v1 import generation_pb2 as pb
from tests.orchestrator.conftest import PROMPT, SCRIPT, Served, Stage
from tests.orchestrator.openai.doors import open_door
from tests.support.waiting import until


class Desk:
    """An admission, and its metrics."""

    def __init__(self, **room: Any) -> None:
        self.registry = CollectorRegistry()
        self.admission = Admission(Room(**room), Metrics(self.registry))

    def refused(self, reason: str) -> float:
        return self.registry.get_sample_value("tandem:requests_refused_total", {"reason": reason}) or 0.0

    @property
    def num_waiting(self) -> float:
        return self.registry.get_sample_value("tandem:num_requests_waiting") or 0.0

    async def queue(self, **asked: Any) -> asyncio.Task[Place]:
        """A request that waits for its turn."""
        before = self.num_waiting
        task = asyncio.create_task(self.admission.enter(**asked))
        await until(lambda: self.num_waiting > before or task.done())
        return task

    async def churn(self, count: int, seconds: float) -> None:
        """Fills every place ``count`` times over for so long."""
        for _ in range(count):
            place = await self.admission.enter()
            await asyncio.sleep(seconds)
            place.free()


async def test_turns_come_in_order_and_those_who_return_go_first() -> None:
    desk = Desk(running=1, waiting=10)
    first = await desk.admission.enter()
    order: list[str] = []

    async def take(name: str, **asked: Any) -> None:
        with await desk.admission.enter(**asked):
            order.append(name)

    waiting = [asyncio.create_task(take(name)) for name in ("a", "b", "c")]
    await until(lambda: desk.num_waiting == 3)
    waiting.append(asyncio.create_task(take("returned", returning=True)))
    await until(lambda: desk.num_waiting == 4)
    first.free()
    await asyncio.gather(*waiting)
    assert order == ["returned", "a", "b", "c"]
    assert desk.num_waiting == 0


async def test_a_large_request_is_not_passed_by_small_ones() -> None:
    desk = Desk(running=2, waiting=10)
    held = [await desk.admission.enter() for _ in range(2)]
    large, small = await desk.queue(count=2), await desk.queue()
    held[0].free()
    await asyncio.sleep(0.01)
    assert not large.done()
    assert not small.done()
    held[1].free()
    place = await large
    assert not small.done()
    place.free()
    (await small).free()
    with pytest.raises(InvalidArgument, match="at most 2"):
        await desk.admission.enter(3)


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    desk = Desk(running=1, waiting=1)
    await desk.churn(5, 0.05)
    held = await desk.admission.enter()
    desk.admission.check()  # there is room to wait
    waiting = await desk.queue()
    with pytest.raises(Overloaded, match="1 wait"):
        desk.admission.check()
    with pytest.raises(Overloaded, match="1 wait") as caught:
        await desk.admission.enter()
    assert caught.value.retry_after_seconds == 1.0
    assert desk.refused("queue_full") == 2
    held.free()
    (await waiting).free()


async def test_a_request_whose_turn_would_come_too_late_is_refused_at_once() -> None:
    desk = Desk(running=1, waiting=100)
    await desk.churn(6, 0.1)
    held = await desk.admission.enter()
    waiting = [await desk.queue() for _ in range(20)]  # two seconds' worth
    now = time.monotonic()
    with pytest.raises(Overloaded, match="deadline") as caught:
        await desk.admission.enter(deadline=now + 1.0)
    assert caught.value.retry_after_seconds > 1.0
    assert desk.refused("deadline") == 1
    late = await desk.queue(deadline=now + 60.0)
    assert not late.done()
    for task in (*waiting, late):
        task.cancel()
    await asyncio.gather(*waiting, late, return_exceptions=True)
    assert desk.num_waiting == 0
    held.free()


async def test_a_deadline_that_passes_in_the_queue_ends_the_wait() -> None:
    desk = Desk(running=1, waiting=10, queue_seconds=0.2)
    held = await desk.admission.enter()
    with pytest.raises(DeadlineExceeded):
        await desk.admission.enter(deadline=time.monotonic() + 0.05)
    with pytest.raises(Overloaded, match="turn"):
        await desk.admission.enter()
    assert (desk.refused("deadline"), desk.refused("queue_timeout")) == (1, 1)
    held.free()
    (await desk.admission.enter()).free()


async def test_a_turn_with_too_little_left_goes_to_the_next() -> None:
    desk = Desk(running=1, waiting=10)
    held = await desk.admission.enter()
    hasty, patient = await desk.queue(deadline=time.monotonic() + 0.5), await desk.queue()
    for _ in range(5):
        desk.admission._pace.note(time.monotonic(), 1, 9.0)  # texts take nine seconds here
    held.free()
    with pytest.raises(Overloaded, match="too little"):
        await hasty
    (await patient).free()


async def test_whoever_leaves_the_queue_leaves_no_trace() -> None:
    desk = Desk(running=1, waiting=10)
    held = await desk.admission.enter()
    gone, stays = await desk.queue(), await desk.queue()
    gone.cancel()
    held.free()  # in the very moment
    (await stays).free()
    held = await desk.admission.enter()
    last = await desk.queue()
    held.free()
    last.cancel()  # its turn has come, and it does not know yet
    await asyncio.gather(last, return_exceptions=True)
    (await asyncio.wait_for(desk.admission.enter(), 1)).free()


async def test_closing_sends_everybody_elsewhere() -> None:
    desk = Desk(running=1, waiting=10)
    held = await desk.admission.enter()
    waiting = await desk.queue()
    desk.admission.close(Unavailable("stopping"))
    for refused in (waiting, desk.admission.enter()):
        with pytest.raises(Unavailable, match="stopping"):
            await refused
    with pytest.raises(Unavailable, match="stopping"):
        desk.admission.check()
    assert desk.refused("draining") == 3
    held.free()


def test_the_pace_is_of_what_happened_lately() -> None:
    pace = Pace()
    for second in range(11):
        assert (pace.seconds_until(1, float(second)) is None) == (second < 4)
        pace.note(float(second), 2, 3.0)
    assert pace.seconds_until(4, 10.0) == pytest.approx(2.0)
    assert pace.typical_seconds(10.0) == pytest.approx(3.0)
    assert pace.seconds_until(4, 20.0) == pytest.approx(4.0)  # nothing came free since: it is slower than it was
    assert pace.seconds_until(4, 100.0) is None
    assert pace.typical_seconds(100.0) == 0.0


# ------------------------------------------------------------------------------------------------------- over the wire


async def stuck(stage: Stage, **settings: Any) -> tuple[Served, Any]:
    """An orchestrator all of whose places are taken, and a call that holds one."""
    verify = await stage.verify()
    verify.round_seconds = 0.05
    served = await stage.orchestrator([verify], max_sessions=1, **settings)
    call = served.generate(max_tokens=500)
    await call.read()
    return served, call


async def test_a_request_waits_for_its_turn(stage: Stage) -> None:
    served, running = await stuck(stage)
    waiting = asyncio.create_task(served.text())
    await until(lambda: served.metric("num_requests_waiting") == 1)
    running.cancel()
    assert (await waiting).token_ids == SCRIPT[:20]
    assert served.metric("request_queue_time_seconds_count") == 2
    assert served.metric("request_queue_time_seconds_sum") > 0


async def test_refusing_reads_no_prompt_and_asks_no_store(stage: Stage) -> None:
    served, running = await stuck(stage, max_waiting=0)
    sessions = served.service._sessions
    asked: list[Any] = []
    sessions._around.store.read = sessions._around.store.create = asked.append  # type: ignore[method-assign,assignment]
    sessions.start = sessions.resume = asked.append  # type: ignore[method-assign,assignment]
    error = await served.refusal(text="select name")
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.aio.AioRpcError, match="RESOURCE_EXHAUSTED"):
        await served.resume("s", 3, bytes(16))
    assert not asked
    assert served.metric("requests_refused_total", reason="queue_full") == 2
    running.cancel()


async def test_a_client_that_leaves_the_queue_is_forgotten(stage: Stage) -> None:
    served, running = await stuck(stage)
    gone = served.generate()
    await until(lambda: served.metric("num_requests_waiting") == 1)
    gone.cancel()
    await until(lambda: served.metric("num_requests_waiting") == 0)
    running.cancel()
    assert (await served.text(max_tokens=1)).token_ids == SCRIPT[:1]


async def test_over_http_too_and_before_the_body_is_read(stage: Stage) -> None:
    door = await open_door(stage, max_sessions=1, max_waiting=1)
    door.draft.round_seconds = 0.05
    running = await door.connect()
    await until(lambda: bool(door.draft.opened))
    waiting = await door.connect()
    await until(lambda: door.served.metric("num_requests_waiting") == 1)
    answer = await door.complete(prompt="x" * 3_000_000)
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (429, "overloaded", "1")
    assert (await door.complete(nonsense=True)).status == 429  # nobody has looked at it
    await waiting.leave()
    await until(lambda: door.served.metric("num_requests_waiting") == 0)
    await running.leave()
    await until(lambda: door.served.metric("num_requests_running") == 0)
    assert (await door.complete(max_tokens=1)).status == 200
    assert (await door.complete(prompt="")).status == 400  # what fails before it runs gives its place back
    assert (await door.complete(max_tokens=1)).status == 200


async def test_a_draining_orchestrator_sends_the_queue_elsewhere(stage: Stage) -> None:
    served, running = await stuck(stage)
    waiting = asyncio.create_task(served.refusal())
    await until(lambda: served.metric("num_requests_waiting") == 1)
    served.stop()  # type: ignore[attr-defined]
    assert (await waiting).code() is grpc.StatusCode.UNAVAILABLE
    running.cancel()


async def test_a_request_with_little_time_is_refused_while_others_wait(stage: Stage) -> None:
    served, running = await stuck(stage)
    pace = served.service._sessions.admission._pace
    for _ in range(6):
        pace.note(time.monotonic(), 1, 5.0)
    request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=PROMPT), max_tokens=5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.read(served.stub.Generate(request, timeout=3))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert float(dict(caught.value.trailing_metadata())["retry-after-seconds"]) >= 1
    running.cancel()


async def test_a_burst_is_answered_call_by_call(stage: Stage) -> None:
    """gRPC's own bound on calls that nobody has taken up yet drops them as if their clients had left."""
    served, running = await stuck(stage, max_waiting=0)
    num_calls = 4_000
    calls = [served.generate() for _ in range(num_calls)]
    time.sleep(1.0)  # noqa: ASYNC251 (the server shares this event loop: none of them can be taken up meanwhile)
    codes = {await call.code() for call in calls}
    assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert served.metric("requests_refused_total", reason="queue_full") == num_calls
    running.cancel()
