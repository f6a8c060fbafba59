"""Streams that wait: for their next token, or for a client that does not read."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any, cast

import pytest
from openai import AsyncOpenAI

from orchestrator.openai import answering
from tests.orchestrator.conftest import Stage
from tests.orchestrator.openai.doors import Door, open_door
from tests.support.http import ask
from tests.support.replicas import Run
from tests.support.waiting import until


async def test_a_stream_that_waits_says_that_it_is_there(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    door = await open_door(stage, drafted=False)
    at_once = (await door.complete(stream=True, max_tokens=4, seed=1)).events
    monkeypatch.setattr(answering, "KEEP_ALIVE_SECONDS", 0.02)

    async def pause(run: Run) -> None:
        await asyncio.sleep(0.1)

    door.verify.pause = pause  # type: ignore[method-assign]
    body = {"prompt": [5, 6, 7], "max_tokens": 4, "stream": True, "seed": 1}
    answer = await ask(f"{door.url}/v1/completions", body)
    blocks = answer.body.decode().split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    told = [json.loads(block.removeprefix("data: ")) for block in blocks[:-2] if block.startswith("data: ")]
    assert [event["choices"] for event in told] == [event["choices"] for event in at_once[:-1]]
    comments = [block for block in blocks[:-1] if not block.startswith("data: ")]
    assert len(comments) >= 3
    assert set(comments) == {": keep-alive"}
    async with AsyncOpenAI(base_url=f"{door.url}/v1", api_key="none", max_retries=0) as api:
        stream = await api.completions.create(model="scripted-verify", prompt=[5, 6, 7], max_tokens=4, stream=True)
        read = "".join([chunk.choices[0].text async for chunk in stream])
    assert read == "".join(event["choices"][0]["text"] for event in told)


async def test_a_client_that_never_reads_takes_no_more_than_a_buffer(stage: Stage) -> None:
    verify = await stage.verify(max_positions=4096)
    door = Door(await stage.orchestrator([verify]), verify, None)
    asked = {"max_tokens": 2000, "ignore_eos": True, "seed": 1}
    text = (await door.complete(**asked)).json["choices"][0]["text"]
    http = door.served.service._http
    http._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # and so of each connection
    body = json.dumps({"prompt": [5, 6, 7], "stream": True} | asked).encode()
    before = verify.num_rounds
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, http._socket.getsockname())
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        await loop.sock_sendall(client, head.encode() + body)

        await until(lambda: verify.num_rounds > before)
        num_rounds = before
        while num_rounds != verify.num_rounds:
            num_rounds = verify.num_rounds
            await asyncio.sleep(0.2)
        assert num_rounds - before < 1000  # it waits
        (connection,) = cast(set[Any], http._server.server_state.connections)
        assert connection.transport.get_write_buffer_size() < 70_000  # asyncio's mark, and the event that went over it
        assert (await asyncio.wait_for(door.complete(), 10)).status == 200  # nobody else waits

        answer = b""
        while more := await loop.sock_recv(client, 1 << 16):
            answer += more
    events = [json.loads(line[6:]) for line in answer.splitlines() if line.startswith(b"data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == text
    assert b"data: [DONE]" in answer


async def test_streams_that_ended_or_were_left_leave_no_task_behind(stage: Stage) -> None:
    door = await open_door(stage)
    assert (await door.complete(stream=True)).status == 200
    before = {task.get_name() for task in asyncio.all_tasks()}
    door.draft.round_seconds = 0.02
    left = [await door.connect(stream=True) for _ in range(10)]
    for connection in left:
        await connection.event()
    ended = await asyncio.gather(*(door.complete(stream=True) for _ in range(10)))
    assert {answer.events[-1] for answer in ended} == {"[DONE]"}
    running = {task.get_name() for task in asyncio.all_tasks()} - before
    assert "keeps an event stream alive" in running
    for connection in left:
        await connection.leave()
    kinds = ("answer over HTTP", "client of an answer", "keeps an event stream alive", "text ", "leave ")
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith(kinds)])
