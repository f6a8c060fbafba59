"""Given texts through an orchestrator: passed to any verify replica, checked at the door, and never a session."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from tandem import AsyncClient
from tandem.errors import InvalidArgument
from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2 as pb
from tests.orchestrator.conftest import Served, Stage
from tests.support.waiting import until

TEXT = (5, 6, 7, 8, 9, 10, 11)


def request(ids: Any = TEXT, **fields: Any) -> pb.ScoreRequest:
    prompt = {} if "text" in fields else {"token_ids": pb.TokenIds(ids=ids)}
    return pb.ScoreRequest(**prompt, **fields)  # type: ignore[arg-type]


async def refusal(served: Served, asked: pb.ScoreRequest, timeout: float = 20) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.Score(asked, timeout=timeout)
    return caught.value


async def test_a_text_is_scored_and_nothing_is_stored(served: Served) -> None:
    answer = await served.stub.Score(request(num_top_log_probs=2))
    assert tuple(answer.token_ids) == TEXT
    assert list(answer.scores.log_probs) == [-0.5, -0.75, -1.0, -1.25, -1.5, -0.5]
    assert list(answer.scores.ranks) == [1] * 6
    assert [list(top.token_ids) for top in answer.scores.top_log_probs] == [[id, id + 1] for id in TEXT[1:]]
    assert not (await served.stub.Score(request())).scores.top_log_probs
    assert served.metric("scored_tokens_total") == 12
    assert served.metric("commits_total", answer="ok") == 0
    assert served.metric("prompt_tokens_total") == 0


async def test_a_text_is_tokenised_as_it_is_for_generating(served: Served, tokenizer: Tokenizer) -> None:
    answer = await served.stub.Score(request(text="select name 🚀"))
    assert list(answer.token_ids) == tokenizer.encode("select name 🚀")
    assert len(answer.scores.log_probs) == len(answer.token_ids) - 1


async def test_one_token_has_nothing_before_it(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify])
    assert not (await served.stub.Score(request([5], num_top_log_probs=3))).scores.log_probs
    assert not verify.scored


async def test_the_client_scores(served: Served, tokenizer: Tokenizer) -> None:
    async with AsyncClient(served.address) as client:
        score = await client.score("select name", num_top_log_probs=1)
        assert score.token_ids == tuple(tokenizer.encode("select name"))
        assert score.log_likelihood == sum(score.log_probs)
        assert [top[0][0] for top in score.top_log_probs] == list(score.token_ids[1:])
        assert set(score.ranks) == {1}
        for bad in (-1, 21, 1 << 40):
            with pytest.raises(InvalidArgument, match="num_top_log_probs"):
                await client.score(TEXT, num_top_log_probs=bad)
        with pytest.raises(InvalidArgument, match="prompt"):
            await client.score([-1])


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (pb.ScoreRequest(), "no prompt"),
        (request(text=""), "0 characters"),
        (request([]), "0 ids"),
        (request([5, 320]), "prompt token 1 is 320"),
        (request([5] * 513), "the text has 513 tokens"),
        (request(num_top_log_probs=-1), "num_top_log_probs is -1"),
        (request(num_top_log_probs=21), "num_top_log_probs is 21"),
    ],
)
async def test_what_cannot_be_scored_is_refused_by_name(stage: Stage, asked: pb.ScoreRequest, named: str) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify])
    error = await refusal(served, asked)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert named in str(error.details())
    assert not verify.scored


async def test_another_replica_is_asked_where_one_cannot(stage: Stage) -> None:
    draining, full, good = [await stage.verify() for _ in range(3)]
    draining.score_refusal = (grpc.StatusCode.UNAVAILABLE, "draining")
    full.score_refusal = (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
    served = await stage.orchestrator([draining, full, good])
    for _ in range(3):
        assert len((await served.stub.Score(request())).scores.log_probs) == 6
    assert len(good.scored) == 3
    assert draining.scored
    good.score_refusal = draining.score_refusal
    assert (await refusal(served, request())).code() in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )


async def test_the_replica_with_the_least_to_do_is_asked(stage: Stage) -> None:
    replicas = [await stage.verify() for _ in range(2)]
    for replica in replicas:
        replica.score_seconds = 0.3
    served = await stage.orchestrator(replicas)
    await asyncio.gather(*(served.stub.Score(request()) for _ in range(6)))
    assert [len(replica.scored) for replica in replicas] == [3, 3]


async def test_errors_of_the_text_itself_are_told_as_they_are(stage: Stage) -> None:
    replicas = [await stage.verify() for _ in range(2)]
    for replica in replicas:
        replica.score_refusal = (grpc.StatusCode.INTERNAL, "logits are not finite")
    served = await stage.orchestrator(replicas)
    error = await refusal(served, request())
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "logits are not finite")
    assert sum(len(replica.scored) for replica in replicas) == 1


async def test_a_caller_that_leaves_takes_its_work_with_it_and_a_deadline_passes(stage: Stage) -> None:
    verify = await stage.verify()
    verify.score_seconds = 30.0
    served = await stage.orchestrator([verify])
    call = served.stub.Score(request())
    await until(lambda: len(verify.scored) == 1)
    call.cancel()
    await until(lambda: verify.scores_left == 1)
    assert (await refusal(served, request(), timeout=0.3)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: verify.scores_left == 2)


async def test_without_a_verify_replica_it_is_unavailable(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify], recovery_timeout=0.2)
    await verify.stop()
    await until(lambda: served.service.describe().max_positions == 0)
    assert (await refusal(served, request())).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stopping_orchestrator_sends_them_elsewhere(stage: Stage) -> None:
    verify = await stage.verify()
    verify.score_seconds = 0.5
    served = await stage.orchestrator([verify])
    running = asyncio.ensure_future(served.stub.Score(request()))
    text = asyncio.ensure_future(served.text(max_tokens=400))
    verify.round_seconds = 0.05
    await until(lambda: len(verify.scored) == 1 and len(verify.opened) == 1)
    served.stop()  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)
    assert (await refusal(served, request())).code() is grpc.StatusCode.UNAVAILABLE
    assert len((await running).scores.log_probs) == 6
    with pytest.raises(grpc.aio.AioRpcError):
        await text
