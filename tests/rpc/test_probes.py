"""/healthz and /readyz of every role's metrics port, through a service's whole life."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from draft_service.drafter import Limits as DraftLimits
from draft_service.service import DraftService
from tandem.engine.hosting import HostedModel
from tandem.rpc.server import Listen, serve
from tests.support.http import ask
from tests.support.model_services import DRAFT, TARGET, hosted
from tests.support.redis_server import free_port
from tests.support.waiting import until
from verify_service.service import VerifyService
from verify_service.sessions import Limits as VerifyLimits

PATIENCE = 10


async def probe(port: int, path: str) -> tuple[int, str]:
    answer = await ask(f"http://127.0.0.1:{port}/{path}")
    return answer.status, answer.body.decode()


@pytest.mark.parametrize("role", ["verify", "draft"])
async def test_a_replica_is_alive_while_it_loads_and_ready_until_it_drains(role: str, tmp_path: Path) -> None:
    may_load, may_leave = threading.Event(), asyncio.Event()

    def load() -> HostedModel:
        may_load.wait(PATIENCE)
        return hosted(TARGET if role == "verify" else DRAFT)

    registry = CollectorRegistry()
    made: VerifyService | DraftService
    if role == "verify":
        made = VerifyService(load, "digest", VerifyLimits(), registry)
    else:
        made = DraftService(load, "digest", DraftLimits(), registry)
    drain = made.drain

    async def linger() -> None:
        await drain()
        await may_leave.wait()

    made.drain = linger  # type: ignore[method-assign]  # else it would be gone before it is asked
    port, ready_file, stop = free_port(), tmp_path / "ready", asyncio.Event()
    listen = Listen(metrics_port=port, ready_file=ready_file)
    task = asyncio.create_task(serve(made, listen, registry, stop=stop))
    try:
        await asyncio.sleep(0)
        assert await probe(port, "healthz") == (200, "alive\n")
        assert await probe(port, "readyz") == (503, "starting\n")
        assert (await probe(port, "metrics"))[0] == 200
        may_load.set()
        await until(ready_file.exists)
        assert json.loads(ready_file.read_text())["metrics"] == f"http://127.0.0.1:{port}/metrics"
        assert await probe(port, "healthz") == (200, "alive\n")
        assert await probe(port, "readyz") == (200, "ready\n")
        stop.set()
        await until(lambda: made._host.lifecycle == "draining")
        assert await probe(port, "healthz") == (200, "alive\n")
        assert await probe(port, "readyz") == (503, "draining\n")
    finally:
        may_load.set()
        may_leave.set()
        stop.set()
        await task


async def test_a_replica_whose_model_is_stuck_is_neither_alive_nor_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.model_thread.STUCK_SECONDS", 0.05)
    may_load = threading.Event()
    stuck = threading.Event()

    def load() -> HostedModel:
        may_load.wait(PATIENCE)
        return hosted(TARGET)

    registry, port, stop = CollectorRegistry(), free_port(), asyncio.Event()
    service = VerifyService(load, "digest", VerifyLimits(), registry)
    task = asyncio.create_task(serve(service, Listen(metrics_port=port), registry, stop=stop))
    try:
        await asyncio.sleep(0.1)
        assert await probe(port, "healthz") == (200, "alive\n")  # however long loading takes
        may_load.set()
        await until(lambda: service._host.lifecycle == "ready")
        assert service._judge is not None
        monkeypatch.setattr(service._judge, "handle", lambda event: stuck.wait(PATIENCE))
        service._host.thread.post(object())  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
        assert await probe(port, "healthz") == (503, "stuck\n")
        assert await probe(port, "readyz") == (503, "stuck\n")
        stuck.set()
        await until(lambda: service.is_alive())
        assert await probe(port, "healthz") == (200, "alive\n")
    finally:
        may_load.set()
        stuck.set()
        stop.set()
        await task
