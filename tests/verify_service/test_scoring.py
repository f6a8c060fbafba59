"""Given texts over real sockets: scored as the table says, in turns, in nobody's way, and refused by name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from tandem.decoding.scored import Scored
from tandem.decoding.values import Ids
from tandem.engine.tree_model import Row
from tandem.v1 import verify_pb2, verify_pb2_grpc
from tests.support.judging import draft, judging
from tests.support.model_services import MAX_POSITIONS, PATIENCE, PROMPT, TARGET, Running, decoding, verify_replica
from tests.support.tabular import TabularModel
from tests.support.waiting import until
from verify_service.sessions import Limits

MTAD = decoding("mtad")
ARRIVAL_SECONDS = 0.2
"""For what was sent to lie before the model's thread, which is at a step."""


class GatedModel(TabularModel):
    """Scores a row only once it is let."""

    def __init__(self, logits: np.ndarray, capacity: int | None = None) -> None:
        super().__init__(logits, capacity)
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.steps: list[list[int]] = []
        """How many tokens each step of scoring read of each text."""

    def score(self, rows: Sequence[Row], next_ids: Ids, num_top: int) -> Scored:
        self.begun.release()
        assert self.gate.acquire(timeout=PATIENCE)
        self.steps.append([len(row.token_ids) for row in rows])
        return super().score(rows, next_ids, num_top)

    def let(self, num_steps: int = 10_000) -> None:
        self.gate.release(num_steps)

    async def step_begins(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE)


@asynccontextmanager
async def scoring(replica: Running) -> AsyncIterator[Any]:
    async with await replica.channel() as channel:
        yield verify_pb2_grpc.VerifyServiceStub(channel)  # type: ignore[no-untyped-call]


def request(token_ids: Sequence[int], num_top: int = 0) -> verify_pb2.VerifyServiceScoreRequest:
    return verify_pb2.VerifyServiceScoreRequest(token_ids=token_ids, num_top_log_probs=num_top)


def text_of(length: int, seed: int = 1) -> list[int]:
    return np.random.default_rng(seed).integers(0, 8, length).tolist()


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, PATIENCE)
    return caught.value


async def test_scores_are_the_tables_own() -> None:
    text = text_of(MAX_POSITIONS)
    async with verify_replica() as replica, scoring(replica) as stub:
        for num_top in (0, 3):
            scores = (await stub.Score(request(text, num_top))).scores
            padded = [0, *text]
            assert len(scores.log_probs) == len(scores.ranks) == len(text) - 1
            assert len(scores.top_log_probs) == (len(text) - 1 if num_top else 0)
            for place, token in enumerate(text[1:], 1):
                logits = TARGET[padded[place - 1], padded[place]]
                order = np.argsort(-logits, kind="stable").tolist()
                log_probs = logits - np.logaddexp.reduce(logits)
                assert scores.log_probs[place - 1] == pytest.approx(log_probs[token])
                assert scores.ranks[place - 1] == 1 + order.index(token)
                if num_top:
                    top = scores.top_log_probs[place - 1]
                    assert list(top.token_ids) == order[:3]
                    assert list(top.log_probs) == pytest.approx(log_probs[order[:3]].tolist())
        assert replica.metric("scored_tokens_total") == 2 * (len(text) - 1)
        one = (await stub.Score(request([5], 3))).scores
        assert not one.log_probs
        assert not one.ranks
        assert replica.metric("kv_cache_usage_perc") == 0


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (request([]), "token_ids has 0 ids"),
        (request([1, 8]), "token_ids has id 8"),
        (request([1, 1 << 31]), "token_ids has id 2147483648"),
        (request([1] * (MAX_POSITIONS + 1)), "has 201 tokens"),
        (request([1, 2], -1), "num_top_log_probs is -1"),
        (request([1, 2], 21), "num_top_log_probs is 21"),
    ],
)
async def test_what_cannot_be_scored_is_refused_by_name(
    asked: verify_pb2.VerifyServiceScoreRequest, named: str
) -> None:
    async with verify_replica() as replica, scoring(replica) as stub:
        error = await refusal(stub.Score(asked))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert named in str(error.details())
        assert len((await stub.Score(request([1, 2]))).scores.log_probs) == 1


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("verify_service.scores.CHUNK_TOKENS", 10)
    return 10


async def test_a_round_waits_for_one_chunk_at_most(short_chunks: int) -> None:
    model = GatedModel(TARGET)
    async with verify_replica(model=model) as replica, scoring(replica) as stub, judging(replica) as client:
        long = asyncio.ensure_future(stub.Score(request(text_of(101))))
        text = list(PROMPT)
        await client.open(text, MTAD)
        await model.step_begins()
        for num_rounds in range(1, 6):
            # The round is asked for in the middle of a step: once that is over, it comes before the next one.
            await client.ask(text, draft(text, MTAD))
            if num_rounds == 1:
                model.let(1)
                await client.opened()
            else:
                model.let(1)
            text += (await client.verdict()).outcome.token_ids
            await model.step_begins()
            assert len(model.steps) <= num_rounds + 1
        assert not long.done()
        model.let()
        assert len((await long).scores.log_probs) == 100
        assert model.steps == [[short_chunks]] * 10


async def test_texts_take_turns_and_short_ones_share_a_step(short_chunks: int) -> None:
    model = GatedModel(TARGET)
    async with verify_replica(model=model) as replica, scoring(replica) as stub:
        done: list[str] = []

        async def score(name: str, length: int) -> None:
            await stub.Score(request(text_of(length)))
            done.append(name)

        tasks = [asyncio.create_task(score("long", 41))]
        await model.step_begins()
        tasks += [asyncio.create_task(score(name, length)) for name, length in (("b", 5), ("c", 4), ("d", 36))]
        await asyncio.sleep(ARRIVAL_SECONDS)
        model.let()
        await asyncio.gather(*tasks)
        assert done.index("b") < done.index("long")
        assert done.index("c") < done.index("long")
        assert all(sum(step) <= short_chunks for step in model.steps)
        assert sum(map(sum, model.steps)) == 40 + 4 + 3 + 35
        # What the long ones read alternates: neither waits for the other's end.
        assert abs(done.index("d") - done.index("long")) == 1
        assert model.num_held == 0


async def test_long_texts_past_the_fourth_hold_no_kv_while_they_wait(short_chunks: int) -> None:
    model = TabularModel(TARGET, capacity=4 * 60)
    async with verify_replica(model=model) as replica, scoring(replica) as stub:
        answers = await asyncio.gather(*(stub.Score(request(text_of(61, seed))) for seed in range(12)))
        assert {len(answer.scores.log_probs) for answer in answers} == {60}
        assert model.num_fed == 12 * 60  # nothing was read twice for want of room


async def test_too_many_that_wait_are_told_to_come_back(short_chunks: int) -> None:
    model = GatedModel(TARGET)
    async with verify_replica(Limits(max_scores=2), model=model) as replica, scoring(replica) as stub:
        tasks = [asyncio.ensure_future(stub.Score(request(text_of(101)))) for _ in range(2)]
        await model.step_begins()
        await asyncio.sleep(ARRIVAL_SECONDS)
        third = asyncio.ensure_future(stub.Score(request(text_of(9))))
        await asyncio.sleep(ARRIVAL_SECONDS)
        model.let()
        error = await refusal(third)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(error.trailing_metadata())["retry-after-seconds"]
        await asyncio.gather(*tasks)


async def test_a_text_that_never_fits_is_refused_and_takes_nobodys_place() -> None:
    async with verify_replica(model=TabularModel(TARGET, capacity=50)) as replica, scoring(replica) as stub:
        error = await refusal(stub.Score(request(text_of(80))))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len((await stub.Score(request(text_of(51)))).scores.log_probs) == 50


async def test_the_kv_of_an_idle_session_gives_way() -> None:
    model = TabularModel(TARGET, capacity=60)
    async with verify_replica(model=model) as replica, scoring(replica) as stub, judging(replica) as client:
        text = text_of(30)
        await client.open(text, MTAD)
        await client.opened()
        await client.ask(text, draft(text, MTAD))
        text += (await client.verdict()).outcome.token_ids
        assert model.num_held > 20
        await stub.Score(request(text_of(51)))
        assert model.num_held == 0
        await client.ask(text, draft(text, MTAD))
        assert (await client.verdict()).outcome.token_ids


@pytest.mark.parametrize("how", ["leaves", "deadline"])
async def test_work_stops_for_a_caller_that_is_gone(short_chunks: int, how: str) -> None:
    model = GatedModel(TARGET)
    async with verify_replica(model=model) as replica, scoring(replica) as stub:
        call = stub.Score(request(text_of(101)), timeout=0.3 if how == "deadline" else None)
        await model.step_begins()
        model.let(1)
        await model.step_begins()
        if how == "leaves":
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        else:
            assert (await refusal(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.sleep(ARRIVAL_SECONDS)
        model.let()
        await until(lambda: replica.metric("num_scores_waiting") == 0)
        assert len(model.steps) <= 3
        assert model.num_held == 0
        assert len((await stub.Score(request(text_of(5)))).scores.log_probs) == 4


async def test_logits_that_are_not_finite_are_an_internal_error_of_that_text_alone() -> None:
    table = TARGET.copy()
    table[3, 4] = np.nan
    async with verify_replica(model=TabularModel(table)) as replica, scoring(replica) as stub:
        bad, good = stub.Score(request([3, 4, 5])), stub.Score(request([3, 5, 4]))
        assert (await refusal(bad)).code() is grpc.StatusCode.INTERNAL
        assert len((await good).scores.log_probs) == 2


async def test_draining_sends_those_that_wait_elsewhere(short_chunks: int) -> None:
    model = GatedModel(TARGET)
    async with verify_replica(model=model) as replica, scoring(replica) as stub:
        tasks = [asyncio.ensure_future(stub.Score(request(text_of(150, seed)))) for seed in range(3)]
        await model.step_begins()
        stopped = replica.begin_to_stop()
        await asyncio.sleep(ARRIVAL_SECONDS)
        model.let()
        for task in tasks:
            assert (await refusal(task)).code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(stopped, 5)
        assert model.num_held == 0
