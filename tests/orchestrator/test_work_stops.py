"""Work that nobody waits for any more: counted in passes of the models, at real draft and verify services on tables."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from draft_service.drafter import Limits as DraftLimits
from draft_service.service import DraftService
from tandem.decoding.warp import Candidates
from tandem.engine.tree_model import Row
from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2 as pb
from tests.orchestrator.conftest import PROMPT, Served, Stage
from tests.support.http import Connection, ask
from tests.support.model_services import DRAFT, TARGET, Running, hosted, running
from tests.support.tabular import TabularModel
from tests.support.waiting import until
from verify_service.service import VerifyService
from verify_service.sessions import Limits as VerifyLimits

PASS_SECONDS = 0.03
LONG = 30_000
"""Tokens of a text that would take minutes."""
PASSES_UNDER_WAY = 4
"""The one in which the client leaves, and those that begin while the news is on its way; three times what was seen."""


class SlowModel(TabularModel):
    """A table whose every pass takes a while."""

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        time.sleep(PASS_SECONDS)
        return super().candidates(rows, width, num_top)


class Tables:
    """One of each service, on tables."""

    def __init__(self, served: Served, target: SlowModel, verify: Running) -> None:
        self.served = served
        self.target = target
        self.verify = verify

    def generate(self, method: str, timeout: float | None = None) -> grpc.aio.UnaryStreamCall:
        request = pb.GenerateRequest(
            token_ids=pb.TokenIds(ids=PROMPT), max_tokens=LONG, method=method, seed=1, ignore_eos=True
        )
        return self.served.stub.Generate(request, timeout=timeout)

    async def passes_until_rest(self) -> int:
        """How many passes begin from now on; returns when none has for a while."""
        before, seen = self.target.num_passes, -1
        while seen != self.target.num_passes:
            seen = self.target.num_passes
            await asyncio.sleep(20 * PASS_SECONDS)
        return seen - before


@pytest.fixture
async def tables(stage: Stage, tokenizer: Tokenizer) -> AsyncIterator[Tables]:
    target, draft = SlowModel(TARGET), SlowModel(DRAFT)
    registries = CollectorRegistry(), CollectorRegistry()
    verify_service = VerifyService(
        lambda: replace(hosted(TARGET, target), max_positions=2 * LONG), tokenizer.digest, VerifyLimits(), registries[0]
    )
    draft_service = DraftService(
        lambda: replace(hosted(DRAFT, draft), max_positions=2 * LONG), tokenizer.digest, DraftLimits(), registries[1]
    )
    async with running(verify_service, registries[0]) as verify, running(draft_service, registries[1]) as drafts:
        served = await stage.orchestrator([verify.address], [drafts.address])
        yield Tables(served, target, verify)


@pytest.mark.parametrize("method", ["mtad", "autoregressive"])
async def test_a_client_that_leaves_is_worked_for_no_longer_than_a_round(tables: Tables, method: str) -> None:
    call = tables.generate(method)
    await until(lambda: tables.target.num_passes > 3)
    call.cancel()
    assert await tables.passes_until_rest() <= PASSES_UNDER_WAY
    assert tables.verify.metric("num_requests_running") == 0


async def test_so_is_one_over_http(tables: Tables) -> None:
    url = tables.served.service.ready_fields()["http"]
    body = {"prompt": list(PROMPT), "max_tokens": LONG, "ignore_eos": True}
    connection = await Connection.post(f"{url}/v1/completions", body)
    await until(lambda: tables.target.num_passes > 3)
    await connection.leave()
    assert await tables.passes_until_rest() <= PASSES_UNDER_WAY


@pytest.mark.parametrize("method", ["mtad", "autoregressive"])
async def test_a_deadline_ends_the_passes(tables: Tables, method: str) -> None:
    call = tables.generate(method, timeout=2.0)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert tables.target.num_passes > 3
    assert await tables.passes_until_rest() <= PASSES_UNDER_WAY
    assert tables.verify.metric("num_requests_running") == 0


@pytest.mark.parametrize("header", [{"X-Request-Timeout": "2"}, {"X-Envoy-Expected-Rq-Timeout-Ms": "2000"}])
@pytest.mark.parametrize("stream", [False, True])
async def test_so_does_one_over_http(tables: Tables, header: dict[str, str], stream: bool) -> None:
    url = tables.served.service.ready_fields()["http"]
    body = {"prompt": list(PROMPT), "max_tokens": LONG, "ignore_eos": True, "stream": stream}
    answer = await ask(f"{url}/v1/completions", body, header)
    told = answer.events[-1]["error"] if stream else answer.error
    assert told["code"] == "deadline_exceeded"
    assert answer.status == (200 if stream else 504)
    assert tables.target.num_passes > 3
    assert await tables.passes_until_rest() <= PASSES_UNDER_WAY
    assert tables.verify.metric("num_requests_running") == 0
