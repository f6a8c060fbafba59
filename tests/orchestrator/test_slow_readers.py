"""Clients that do not read: what they lose, what they hold up, and how much of the server's memory they take."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest

from tandem.rpc.channel import open_channel
from tandem.v1 import generation_pb2 as pb
from tandem.v1.generation_pb2_grpc import GenerationServiceStub
from tests.orchestrator.conftest import PROMPT, SCRIPT, Stage
from tests.support.http import Connection
from tests.support.waiting import until

LONG = 150_000
NUM_IDLE = 8
MOST_BYTES_EACH = 2 << 20
"""The server's buffers of one stream, with all that a session has in memory besides."""


async def test_a_stream_left_unread_is_lost_and_its_session_is_not(stage: Stage) -> None:
    verify = await stage.verify(max_positions=2 * LONG)
    served = await stage.orchestrator([verify], max_sessions=1, reader_timeout=0.5)
    idle = served.generate(max_tokens=LONG, trace=True)
    started = (await idle.read()).started
    await until(lambda: served.metric("num_requests_running") == 0)
    assert (await served.text()).token_ids == SCRIPT[:20]  # its place is somebody else's
    seen, digest = list(PROMPT), b""
    with contextlib.suppress(grpc.aio.AioRpcError):
        while True:
            message = await idle.read()
            seen.extend(message.part.token_ids)
            digest = message.part.digest
    assert await idle.code() is grpc.StatusCode.UNAVAILABLE
    assert "unread" in await idle.details()
    request = pb.ResumeRequest(session_id=started.session_id, position=len(seen), digest=digest)
    rest = served.stub.Resume(request, timeout=20)
    assert (await rest.read()).HasField("started")
    part = (await rest.read()).part
    assert part.position == len(seen)
    assert tuple(part.token_ids) == tuple(SCRIPT[(len(seen) - 3 + n) % len(SCRIPT)] for n in range(len(part.token_ids)))
    rest.cancel()


async def test_over_http_its_text_is_cancelled(stage: Stage) -> None:
    served = await stage.orchestrator([await stage.verify()], max_sessions=1, reader_timeout=0.3)
    app = served.service._http._server.config.app
    body = {"prompt": list(PROMPT), "max_tokens": 400, "stream": True}
    asked = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
    never, sent = asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        await never.wait()
        raise AssertionError("the client stays")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > 3:
            await never.wait()  # as a server does while the window is full

    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": [], "query_string": b""}
    await asyncio.wait_for(app(scope, receive, send), 10)  # type: ignore[operator, arg-type]
    assert len(sent) == 4  # nothing was written after it, and the server closes what ends unfinished
    session_id = json.loads(sent[1]["body"].removeprefix(b"data: "))["id"].removeprefix("cmpl-")
    await until(lambda: served.metric("num_requests_running") == 0)
    session = await served.stub.GetSession(pb.GetSessionRequest(session_id=session_id))
    assert session.reason == pb.FINISH_REASON_CANCELLED
    assert (await served.text()).token_ids == SCRIPT[:20]


@pytest.fixture
async def process(stage: Stage, tokenizer_folder: Path, tmp_path: Path) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """An orchestrator's process, whose memory nobody else uses."""
    verify = await stage.verify(max_positions=2 * LONG)
    ready_file = tmp_path / "ready.json"
    flags = (f"--verify={verify.address}", f"--tokenizer={tokenizer_folder}", f"--redis-url={stage.redis_url}")
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator", *flags, f"--ready-file={ready_file}", "--log-level=warning"
    )
    try:
        await until(lambda: ready_file.exists() or started.returncode is not None)
        yield started.pid, json.loads(ready_file.read_text())
    finally:
        started.kill()
        await started.wait()


async def test_memory_is_bounded_however_many_do_not_read(process: tuple[int, dict[str, Any]]) -> None:
    pid, ready = process
    memory = psutil.Process(pid).memory_info

    async with open_channel(ready["address"]) as channel:
        stub = GenerationServiceStub(channel)  # type: ignore[no-untyped-call]

        async def positions(ids: list[str]) -> list[int]:
            return [(await stub.GetSession(pb.GetSessionRequest(session_id=name))).position for name in ids]

        request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=PROMPT), max_tokens=LONG, trace=True)
        await anext(aiter(stub.Generate(request)))  # what the first one takes is everybody's
        before = memory().rss
        idle = [stub.Generate(request) for _ in range(NUM_IDLE)]
        body = {"prompt": "a", "max_tokens": LONG}
        unread = [await Connection.post(f"{ready['http']}/playground/generate", body) for _ in range(NUM_IDLE)]
        ids = [(await call.read()).started.session_id for call in idle]
        for connection in unread:
            ids.append((await connection.event())["session_id"])
            connection._reader._transport.pause_reading()  # type: ignore[attr-defined]
        before_that, seen = [], [0]
        while seen != before_that:
            before_that, seen = seen, await positions(ids)
            await asyncio.sleep(0.5)  # until all stand still
        print(f"{seen} {(memory().rss - before) / 2**20:.1f} MiB")
        assert max(seen) < LONG / 2
        grown = memory().rss - before
        assert grown < 2 * NUM_IDLE * MOST_BYTES_EACH, f"{grown / 2**20:.0f} MiB"
        for call in idle:
            call.cancel()
        for connection in unread:
            await connection.leave()
