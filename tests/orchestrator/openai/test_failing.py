"""How requests end that do not end well: refused for now, failed in their middle, left by their client."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
import structlog

from orchestrator.openai.failures import error_answer, error_response
from tandem.errors import (
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    InvalidArgument,
    InvariantBroken,
    NotFound,
    OutOfKV,
    Overloaded,
    RowFailed,
    Stale,
    Unavailable,
)
from tandem.v1 import generation_pb2 as pb
from tests.orchestrator.conftest import Stage
from tests.orchestrator.openai.doors import Door, open_door
from tests.support.waiting import until


def test_every_error_has_its_status() -> None:
    statuses = {
        InvalidArgument: 400,
        NotFound: 404,
        Stale: 409,
        OutOfKV: 429,
        Overloaded: 429,
        Cancelled: 499,
        RowFailed: 500,
        DataLoss: 500,
        InvariantBroken: 500,
        Unavailable: 503,
        DeadlineExceeded: 504,
    }
    for kind, status in statuses.items():
        response = error_response(kind("why"))
        assert response.status_code == status
        assert ("retry-after" in response.headers) == (status in (429, 503))
        assert error_answer(kind("why")).error.message == "why"
    assert error_response(Overloaded("later", 2.5)).headers["retry-after"] == "3"
    assert "secret" not in error_answer(ValueError("secret")).error.message


async def session_of(door: Door, answer_id: str) -> Any:
    return await door.served.stub.GetSession(pb.GetSessionRequest(session_id=answer_id.removeprefix("cmpl-")))


async def test_an_error_in_the_middle_is_an_event_and_no_done_follows(stage: Stage) -> None:
    door = await open_door(stage, drafted=False)
    door.verify.refusal, door.verify.refuse_after = RowFailed("non-finite logits"), 3
    events = (await door.complete(stream=True)).events
    assert len(events) > 1
    assert events[0]["choices"][0]["text"]
    assert set(events[-1]) == {"error"}
    assert events[-1]["error"] == {
        "message": "non-finite logits",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    whole = await door.complete()
    assert (whole.status, whole.error["message"]) == (500, "non-finite logits")


async def test_one_choice_that_fails_ends_the_others(stage: Stage) -> None:
    door = await open_door(stage, drafted=False)
    door.verify.round_seconds = 0.02
    running = asyncio.create_task(door.complete(n=2, max_tokens=300))
    await until(lambda: len(door.verify.opened) == 2)
    door.verify.runs[door.verify.opened[0].session_id].refusal = RowFailed("non-finite logits")
    assert (await running).status == 500
    await until(lambda: not door.verify.runs)
    other = await session_of(door, door.verify.opened[1].session_id)
    assert other.reason == pb.FINISH_REASON_CANCELLED


async def test_an_error_before_the_first_event_has_its_own_status(stage: Stage) -> None:
    door = await open_door(stage, drafted=False, recovery_timeout=0.2)
    await door.verify.stop()
    await asyncio.sleep(0.1)
    for stream in (False, True):
        answer = await door.complete(stream=stream)
        assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")


@pytest.mark.parametrize("given", ["soon", "0", "-1", "inf", "nan", ""])
async def test_how_long_a_client_waits_is_a_positive_number(stage: Stage, given: str) -> None:
    door = await open_door(stage, drafted=False)
    answer = await door.complete({"X-Request-Timeout": given})
    assert (answer.status, answer.error["param"]) == (400, "X-Request-Timeout")
    assert f"{given!r}; expected a positive number" in answer.error["message"]


async def test_a_turn_that_comes_too_late_is_not_waited_for(stage: Stage) -> None:
    door = await open_door(stage, max_sessions=1)
    door.draft.round_seconds = 0.02
    running = asyncio.create_task(door.complete(max_tokens=300))
    await until(lambda: door.served.service._sessions.num_followed == 1)
    late = await door.complete({"X-Request-Timeout": "0.3", "X-Envoy-Expected-Rq-Timeout-Ms": "60000"})
    assert (late.status, late.error["code"]) == (504, "deadline_exceeded")
    assert not running.done()
    assert (await running).status == 200


async def test_a_prompt_is_scored_by_its_deadline_or_not_at_all(stage: Stage) -> None:
    door = await open_door(stage, drafted=False)
    door.verify.score_seconds = 30.0
    late = await door.complete({"X-Request-Timeout": "0.3"}, max_tokens=0, echo=True, logprobs=0)
    assert (late.status, late.error["code"]) == (504, "deadline_exceeded")


async def test_too_many_at_once_are_told_when_to_come_back(stage: Stage) -> None:
    door = await open_door(stage, max_sessions=2, max_waiting=1)
    door.draft.round_seconds = 0.02
    running = asyncio.create_task(door.complete(max_tokens=300))
    await until(lambda: door.served.service._sessions.num_followed == 1)
    answer = await door.complete(n=2)
    assert (answer.status, answer.error["type"]) == (429, "rate_limit_error")
    assert answer.headers["retry-after"] == "1"
    never = await door.complete(n=3)
    assert (never.status, "at most 2" in never.error["message"]) == (400, True)
    assert (await running).status == 200


async def test_a_stopping_orchestrator_ends_streams_with_an_error(stage: Stage) -> None:
    door = await open_door(stage)
    door.draft.round_seconds = 0.05
    running = asyncio.create_task(door.complete(max_tokens=500, stream=True))
    await until(lambda: bool(door.draft.opened))
    door.served.stop()  # type: ignore[attr-defined]
    events = (await running).events
    assert events[-1]["error"]["code"] == "unavailable"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_its_texts(stage: Stage, stream: bool) -> None:
    door = await open_door(stage)
    door.draft.round_seconds = 0.02
    connection = await door.connect(stream=stream, n=3)
    await until(lambda: len(door.draft.opened) == 3)
    if stream:
        answer_id = (await connection.event())["id"]
        assert answer_id.removeprefix("cmpl-") == door.draft.opened[0].session_id
    await until(lambda: door.draft.num_rounds > 6)
    await connection.leave()
    await until(lambda: not door.draft.runs)
    num_rounds = door.draft.num_rounds
    await asyncio.sleep(0.1)
    assert door.draft.num_rounds == num_rounds
    for run in door.draft.opened:
        session = await session_of(door, run.session_id)
        assert (session.finished, session.reason) == (True, pb.FINISH_REASON_CANCELLED)
        assert session.position < 3 + 400
    assert door.served.service._sessions.num_followed == 0


async def test_a_session_cancelled_by_its_id_ends_the_stream_with_an_error(stage: Stage) -> None:
    door = await open_door(stage)
    door.draft.round_seconds = 0.02
    connection = await door.connect(stream=True)
    session_id = (await connection.event())["id"].removeprefix("cmpl-")
    await door.served.stub.Cancel(pb.CancelRequest(session_id=session_id))
    while "error" not in (event := await connection.event()):
        pass
    assert event["error"]["code"] == "cancelled"


async def test_a_client_that_does_not_read_pauses_its_own_text(stage: Stage) -> None:
    door = await open_door(stage)
    app = door.served.service._http._server.config.app
    body = json.dumps({"prompt": [5, 6, 7], "max_tokens": 400, "stream": True}).encode()
    full, gone, sent = asyncio.Event(), asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        if not sent and not full.is_set():
            full.set()
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > 3:
            await gone.wait()  # as a server does while the window is full

    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": [], "query_string": b""}
    request = asyncio.create_task(app(scope, receive, send))  # type: ignore[operator, arg-type]
    await until(lambda: len(sent) == 4)
    await asyncio.sleep(0.2)
    num_rounds = door.draft.num_rounds
    assert num_rounds < 8  # what was shown, one in hand, and two that are not committed
    assert (await asyncio.wait_for(door.complete(), 10)).status == 200
    gone.set()
    await request
    assert len(sent) < 8
    await until(lambda: door.served.service._sessions.num_followed == 0)


async def test_log_lines_of_a_request_have_its_id(stage: Stage) -> None:
    door = await open_door(stage)
    door.draft.refusal, door.draft.refuse_after = Unavailable("away"), 2
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await door.complete({"X-Request-Id": "first"})
        await door.complete({"X-Request-Id": "second"})
    named = [line["request_id"] for line in lines if line["event"] == "placing the session anew"]
    assert sorted(set(named)) == ["first", "second"]


def test_the_log_of_a_process_has_them() -> None:
    code = (
        "import structlog\nfrom tandem.telemetry import configure_logging, logger\n"
        "configure_logging('orchestrator')\n"
        "structlog.contextvars.bind_contextvars(request_id='mine')\nlogger('here').info('hello')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr)["request_id"] == "mine"
