"""The orchestrator as a process: what it imports, its doors, how it starts and stops."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from orchestrator.service import Orchestrator
from orchestrator.settings import OrchestratorSettings
from tandem.errors import InvalidArgument, ModelRefused
from tandem.rpc import codec
from tandem.rpc.channel import open_channel
from tandem.v1 import generation_pb2 as pb
from tandem.v1 import generation_pb2_grpc, types_pb2
from tests.orchestrator.conftest import PROMPT, SCRIPT, Served, Stage
from tests.support.http import ask
from tests.support.redis_server import RedisServer, free_port
from tests.support.waiting import until


def test_no_module_of_it_brings_torch() -> None:
    code = (
        "import importlib, pkgutil, sys, orchestrator\n"
        "names = [m.name for m in pkgutil.walk_packages(orchestrator.__path__, 'orchestrator.')]\n"
        "assert 'orchestrator.session' in names\n"
        "for name in names: importlib.import_module(name)\n"
        "print(sorted({'torch', 'transformers', 'tandem.engine'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


async def fetch(url: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(get)


def http_of(served: Served) -> str:
    return served.service.ready_fields()["http"]


async def test_metrics_and_probes_are_served(served: Served) -> None:
    await served.text()
    status, body = await fetch(f"{http_of(served)}/metrics")
    assert status == 200
    for name in ("num_requests_running", "time_to_first_token_seconds_count", "commits_total", "recoveries_total"):
        assert f"tandem:{name}" in body
    assert await fetch(f"{http_of(served)}/healthz") == (200, "alive\n")
    assert await fetch(f"{http_of(served)}/readyz") == (200, "ready\n")


async def test_readiness_follows_the_store_and_liveness_does_not(stage: Stage, own_redis: RedisServer) -> None:
    stage.redis_url = own_redis.url
    served = await stage.orchestrator([await stage.verify()])
    own_redis.kill()
    status, body = await fetch(f"{http_of(served)}/readyz")
    assert (status, "store" in body) == (503, True)
    assert (await fetch(f"{http_of(served)}/healthz"))[0] == 200
    own_redis.start()
    assert (await fetch(f"{http_of(served)}/readyz"))[0] == 200


async def test_it_describes_the_target_that_it_serves(served: Served) -> None:
    found = codec.decode_description(await served.stub.Describe(types_pb2.DescribeRequest()))
    assert (found.role, found.lifecycle, found.model) == ("orchestrator", "ready", "scripted-verify")
    assert (found.vocab_size, found.max_positions) == (320, 512)
    assert "mtad" in found.methods


async def test_health_is_serving(served: Served) -> None:
    async with open_channel(served.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service="tandem.v1.GenerationService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_draining_hands_texts_over_within_a_round(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    draft.round_seconds = 0.02
    here = await stage.orchestrator([verify], [draft], drain_timeout=60.0)
    there = await stage.orchestrator([verify], [draft])
    seen, digest = list(PROMPT), b""
    text = aiter(here.generate(max_tokens=500))
    session_id = (await anext(text)).started.session_id
    before = (await anext(text)).part
    seen.extend(before.token_ids)
    here.stop()  # type: ignore[attr-defined]
    num_rounds, code = 0, None
    try:
        async for message in text:
            num_rounds += 1
            seen.extend(message.part.token_ids)
            digest = message.part.digest
    except grpc.aio.AioRpcError as error:
        code = error.code()
    assert code is grpc.StatusCode.UNAVAILABLE
    # What had been committed by then, some of it on its way: the text would have taken a hundred rounds more.
    assert num_rounds <= 10
    rest = await there.resume(session_id, len(seen), digest or before.digest)
    assert (*seen[3:], *rest.token_ids) == (SCRIPT * 9)[:500]


@pytest.mark.parametrize(("drain_timeout", "ends"), [(60.0, True), (0.1, False)])
async def test_texts_that_nobody_can_resume_may_end_while_it_drains(
    stage: Stage, drain_timeout: float, ends: bool
) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    draft.round_seconds = 0.02
    served = await stage.orchestrator([verify], [draft], drain_timeout=drain_timeout)
    body = {"prompt": list(PROMPT), "max_tokens": 200}
    text = asyncio.create_task(ask(f"{http_of(served)}/v1/completions", body))
    await until(lambda: served.metric("num_requests_running") == 1)
    served.stop()  # type: ignore[attr-defined]
    answer = await text
    assert answer.status == (200 if ends else 503)
    assert not ends or answer.json["usage"]["completion_tokens"] == 200


@pytest.fixture
def process_of() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


async def start_process(started: list[subprocess.Popen[str]], *flags: str) -> subprocess.Popen[str]:
    process = await asyncio.to_thread(
        subprocess.Popen,
        [sys.executable, "-m", "orchestrator", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


async def test_the_process_says_where_it_serves_and_stops_when_told(
    stage: Stage, tokenizer_folder: Path, tmp_path: Path, process_of: list[subprocess.Popen[str]]
) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    ready_file = tmp_path / "ready.json"
    process = await start_process(
        process_of,
        f"--verify={verify.address}",
        f"--draft={draft.address}",
        f"--tokenizer={tokenizer_folder}",
        f"--redis-url={stage.redis_url}",
        f"--ready-file={ready_file}",
        "--method=mmtad",
    )
    await until(lambda: ready_file.exists() or process.poll() is not None)
    ready = json.loads(ready_file.read_text())
    assert (ready["role"], ready["pid"]) == ("orchestrator", process.pid)
    assert await fetch(f"{ready['http']}/readyz") == (200, "ready\n")
    async with open_channel(ready["address"]) as channel:
        stub = generation_pb2_grpc.GenerationServiceStub(channel)
        request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=PROMPT), max_tokens=20)
        messages = [message async for message in stub.Generate(request)]
        assert messages[-1].finished.usage.method == "mmtad"
        running = aiter(stub.Generate(pb.GenerateRequest(token_ids=pb.TokenIds(ids=PROMPT), max_tokens=500)))
        draft.round_seconds = 0.1
        await anext(running)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
        assert time.monotonic() - began < 5


async def test_a_dead_store_is_one_clear_line(tokenizer_folder: Path, process_of: list[subprocess.Popen[str]]) -> None:
    dead = free_port()
    process = await start_process(
        process_of,
        f"--verify=127.0.0.1:{free_port()}",
        f"--tokenizer={tokenizer_folder}",
        f"--redis-url=redis://127.0.0.1:{dead}",
        "--startup-timeout=0",
    )
    _, errors = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 2, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: the session store does not answer")
    assert str(dead) in last


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--threshold=3", "threshold is 3"),
        ("--draft-length=1000", "draft_length is 1000"),
        ("--method=guess", "mmtad"),
        ("--draft=nonsense", "host:port"),
        ("--verify=", "verify"),
        ("--http-port=99999", "http"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(flag: str, expected: str) -> None:
    with pytest.raises(InvalidArgument, match=expected):
        OrchestratorSettings.load(["--verify=127.0.0.1:1", flag], {})


def test_a_taken_http_port_and_a_missing_tokenizer_are_refused(tokenizer_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ["--verify=127.0.0.1:1", f"--tokenizer={tokenizer_folder}", f"--http-port={port}"]
        with pytest.raises(InvalidArgument, match="--http-port"):
            Orchestrator(OrchestratorSettings.load(flags, {}), CollectorRegistry())
    with pytest.raises(ModelRefused, match="/nowhere"):
        Orchestrator(
            OrchestratorSettings.load(["--verify=127.0.0.1:1", "--tokenizer=/nowhere/at/all"], {}), CollectorRegistry()
        )
