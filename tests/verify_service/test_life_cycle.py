"""Starting, serving, draining: what Describe and health say, and what a real process does on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from tandem.decoding.warp import Candidates
from tandem.engine.hosting import HostedModel
from tandem.engine.tree_model import Row
from tandem.errors import InvariantBroken, ModelRefused
from tandem.rpc.channel import open_channel
from tandem.rpc.codec import Description, decode_description, encode_decoding, encode_fence
from tandem.rpc.server import Listen, serve
from tandem.v1 import types_pb2, verify_pb2, verify_pb2_grpc
from tests.support.judging import draft, judging, status_of
from tests.support.model_services import (
    PATIENCE,
    PROMPT,
    TARGET,
    decoding,
    fence,
    hosted,
    running,
    text_alone,
    verify_replica,
)
from tests.support.processes import started
from tests.support.tabular import TabularModel
from verify_service.service import VerifyService
from verify_service.sessions import Limits

MTAD = decoding("mtad")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def describe(address: str) -> Description:
    async with open_channel(address) as channel:
        stub = verify_pb2_grpc.VerifyServiceStub(channel)  # type: ignore[no-untyped-call]
        return decode_description(await stub.Describe(types_pb2.DescribeRequest()))


async def health(address: str, service: str = "") -> int:
    async with open_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)


async def test_a_ready_replica_says_what_it_is() -> None:
    async with verify_replica() as replica:
        described = await describe(replica.address)
        assert (described.role, described.lifecycle, described.model) == ("verify", "ready", "table")
        assert (described.vocab_size, described.max_positions, described.eos_token_ids) == (8, 200, (0,))
        assert {"mtad", "autoregressive"} <= set(described.methods)
        assert await health(replica.address) == SERVING
        assert await health(replica.address, "tandem.v1.VerifyService") == SERVING
        async with open_channel(replica.address) as channel:
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            )
            names = [service.name for service in (await call.read()).list_services_response.service]
        assert "tandem.v1.VerifyService" in names


async def test_a_starting_replica_answers_describe_and_takes_no_work() -> None:
    may_load = threading.Event()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def load() -> HostedModel:
        may_load.wait(PATIENCE)
        return hosted(TARGET)

    registry = CollectorRegistry()
    stop = asyncio.Event()
    service = VerifyService(load, "digest", Limits(), registry)
    task = asyncio.create_task(serve(service, Listen(port=port), registry, stop=stop))
    address = f"127.0.0.1:{port}"
    try:
        async with open_channel(address) as channel:
            await asyncio.wait_for(channel.channel_ready(), PATIENCE)
            assert (await describe(address)).lifecycle == "starting"
            assert await health(address) == NOT_SERVING
            call = verify_pb2_grpc.VerifyServiceStub(channel).Judge()  # type: ignore[no-untyped-call]
            assert await status_of(call) is grpc.StatusCode.UNAVAILABLE
        may_load.set()
        for _ in range(200):
            if await health(address) == SERVING:
                break
            await asyncio.sleep(0.02)
        assert (await describe(address)).lifecycle == "ready"
    finally:
        may_load.set()
        stop.set()
        await task


async def test_a_model_that_cannot_be_loaded_ends_the_service_with_its_error() -> None:
    def load() -> HostedModel:
        raise ModelRefused("no such model")

    registry = CollectorRegistry()
    with pytest.raises(ModelRefused, match="no such model"):
        async with running(VerifyService(load, "digest", Limits(), registry), registry):
            pass


async def test_draining_finishes_the_round_then_ends_the_stream() -> None:
    async with verify_replica() as replica, judging(replica) as client:
        await client.open(PROMPT, MTAD)
        await client.opened()
        await client.ask(PROMPT, draft(PROMPT, MTAD))
        await client.verdict()
        stopped = replica.begin_to_stop()
        assert await status_of(client.call) is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(stopped, 5)


class _Breaking(TabularModel):
    """Raises what nobody expects, for any text that holds token 7."""

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        if any(7 in row.token_ids.tolist() for row in rows):
            raise ZeroDivisionError("a defect")
        return super().candidates(rows, width, num_top)


async def test_a_pass_that_breaks_fails_its_sessions_and_the_next_pass_is_sound() -> None:
    async with verify_replica(model=_Breaking(TARGET)) as replica, judging(replica) as client:
        await client.open([1, 7], MTAD, session_id="bad")
        await client.opened()
        await client.ask([1, 7], draft([1, 7], MTAD), session_id="bad")
        refusal = await client.refused()
        assert (refusal.session_id, refusal.code) == ("bad", grpc.StatusCode.INTERNAL.value[0])
        assert "defect" not in refusal.message
        ending = decoding("autoregressive", max_position=4)
        async with open_channel(replica.address) as channel:
            call = verify_pb2_grpc.VerifyServiceStub(channel).Decode()  # type: ignore[no-untyped-call]
            opened = verify_pb2.OpenSequence(
                session_id="good", fence=encode_fence(fence()), decoding=encode_decoding(ending), token_ids=PROMPT
            )
            await call.write(verify_pb2.DecodeRequest(open=opened))
            decoded = await asyncio.wait_for(call.read(), PATIENCE)
            assert list(decoded.decoded.outcome.token_ids) == text_alone(ending)
            call.cancel()


async def test_a_model_thread_that_dies_ends_the_service() -> None:
    broken = threading.Event()

    def usage() -> float:
        if broken.is_set():
            raise ZeroDivisionError("a defect")
        return 0.0

    registry = CollectorRegistry()
    service = VerifyService(lambda: replace(hosted(TARGET), kv_usage=usage), "digest", Limits(), registry)

    async def serve_until_it_breaks() -> None:
        async with running(service, registry) as replica, judging(replica) as client:
            await client.open(PROMPT, MTAD)
            await client.opened()
            broken.set()
            await client.ask(PROMPT, draft(PROMPT, MTAD))
            await asyncio.wait_for(client.call.code(), PATIENCE)

    with pytest.raises(InvariantBroken, match="model thread"):
        await serve_until_it_breaks()


def test_a_process_drains_and_exits_in_time(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    with started("verify_service", tmp_path, "--target", str(tiny_pair[0])) as process:
        assert process.ready["role"] == "verify"
        assert process.ready["pid"] == process.popen.pid
        began = time.monotonic()
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(5) == 0
        assert time.monotonic() - began < 5
        lines = [json.loads(line) for line in process.stderr().splitlines()]
        assert [line["event"] for line in lines][-1] == "stopped"
        assert {line["role"] for line in lines} == {"verify"}


@pytest.mark.parametrize("role", ["verify", "draft"])
def test_what_cannot_be_started_says_so_in_one_line(role: str, tmp_path: Path, tiny_pair: tuple[Path, Path]) -> None:
    model = "--target" if role == "verify" else "--draft"
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (pickled / name).write_bytes((tiny_pair[0] / name).read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        cases = {
            ("--port", port, model, str(tiny_pair[0])): port,
            ("--metrics-port", port, model, str(tiny_pair[0])): port,
            (model, str(tmp_path / "nowhere")): "nowhere",
            (model, str(pickled)): "safetensors",
            ("--no-such-flag",): "--no-such-flag",
            ("--port", "many"): "--port",
        }
        processes = {
            expected: subprocess.Popen(
                [sys.executable, "-m", f"{role}_service", *flags],
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for flags, expected in cases.items()
        }
        for expected, process in processes.items():
            _, stderr = process.communicate(timeout=60)
            said = [line for line in stderr.splitlines() if line.startswith("error: ")]
            assert process.returncode == 2, stderr
            assert len(said) == 1, stderr
            assert expected in said[0]
            assert "Traceback" not in stderr
