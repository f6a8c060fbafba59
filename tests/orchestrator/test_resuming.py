"""Streams that are taken up again, here or at another orchestrator; sessions that are cancelled or looked at."""

from __future__ import annotations

import asyncio

import grpc
import pytest
import redis.asyncio as redis

from orchestrator.session_store import keys_of
from tandem.decoding.values import RunningDigest
from tandem.v1 import generation_pb2 as pb
from tests.orchestrator.conftest import PROMPT, SCRIPT, Served, Stage
from tests.support.redis_server import RedisServer
from tests.support.waiting import until


async def leave_after(served: Served, num_parts: int, **fields: object) -> tuple[str, list[pb.TextPart]]:
    """Starts a text and vanishes after some parts."""
    call = served.generate(**fields)
    session_id = (await call.read()).started.session_id
    parts = [(await call.read()).part for _ in range(num_parts)]
    call.cancel()
    return session_id, parts


def after(num_tokens: int) -> tuple[int, bytes]:
    """Position and digest after so many generated tokens."""
    return len(PROMPT) + num_tokens, RunningDigest((*PROMPT, *SCRIPT[:num_tokens])).value


async def fails(call: object, code: grpc.StatusCode) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.code() is code, caught.value.details()
    return str(caught.value.details())


async def test_an_ended_text_can_be_read_again_from_anywhere(served: Served) -> None:
    whole = await served.text(stop=["\N{SNOWMAN}"])
    for num_tokens in range(0, 21, 4):
        rest = await served.resume(whole.started.session_id, *after(num_tokens))
        assert rest.started == whole.started
        assert rest.token_ids == SCRIPT[num_tokens:20]
        assert len(rest.parts) == (num_tokens < 20)
        assert whole.text.endswith(rest.text)
        assert rest.finished.reason == whole.finished.reason
        usage = rest.finished.usage
        assert usage.completion_tokens == 20
        assert usage.output_perplexity == pytest.approx(whole.finished.usage.output_perplexity)
        assert usage.acceptance_histogram == whole.finished.usage.acceptance_histogram


async def test_a_vanished_client_pauses_its_session_and_another_orchestrator_takes_it_up(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    draft.round_seconds = 0.02
    draft.joules = (0.25, 2.0)  # so that every key exists
    here = await stage.orchestrator([verify], [draft], resume_ttl=100)
    there = await stage.orchestrator([verify], [draft])
    whole = (await there.text(max_tokens=40)).text
    session_id, parts = await leave_after(here, 3, max_tokens=40, num_top_log_probs=2)
    await until(lambda: session_id in draft.closed)
    client = redis.from_url(stage.redis_url)
    await asyncio.sleep(0.1)
    assert all([0 < await client.ttl(key) <= 100 for key in keys_of(session_id)])
    await client.aclose()
    assert here.metric("num_requests_running") == 0
    num_tokens = sum(len(part.token_ids) for part in parts)
    rest = await there.resume(session_id, *after(num_tokens))
    assert rest.token_ids == SCRIPT[num_tokens:40]
    assert "".join(part.text for part in parts) + rest.text == whole
    epochs = [run.fence.epoch for run in draft.opened if run.session_id == session_id]
    assert epochs == [1, 2]


async def test_a_session_taken_up_elsewhere_keeps_the_sums_of_its_energy(stage: Stage) -> None:
    verify, drafts = await stage.verify(), [await stage.draft(), await stage.draft()]
    here = await stage.orchestrator([verify], [drafts[0]])
    there = await stage.orchestrator([verify], [drafts[1]])
    for draft in drafts:
        draft.round_seconds = 0.02
        draft.joules = (0.25, 2.0)
    session_id, parts = await leave_after(here, 3, max_tokens=40)
    await until(lambda: session_id in drafts[0].closed)
    await asyncio.sleep(0.1)
    num_tokens = sum(len(part.token_ids) for part in parts)
    usage = (await there.resume(session_id, *after(num_tokens))).finished.usage
    assert drafts[1].num_rounds > 0
    assert usage.num_spec_steps > drafts[1].num_rounds
    assert (usage.draft_joules, usage.verify_joules) == (0.25 * usage.num_spec_steps, 2.0 * usage.num_spec_steps)
    # A replica that measures nothing takes the figure away, not a part of it.
    drafts[1].joules = (None, 2.0)
    session_id, parts = await leave_after(here, 3, max_tokens=40)
    await until(lambda: session_id in drafts[0].closed)
    await asyncio.sleep(0.1)
    num_tokens = sum(len(part.token_ids) for part in parts)
    usage = (await there.resume(session_id, *after(num_tokens))).finished.usage
    assert not usage.HasField("draft_joules")
    assert usage.verify_joules == 2.0 * usage.num_spec_steps


async def test_a_resumed_stream_has_the_log_probabilities_of_what_was_committed_before(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    served = await stage.orchestrator([verify], [draft])
    whole = await served.text(num_top_log_probs=3)
    tops = [top for part in whole.parts for top in part.top_log_probs]
    assert [list(top.token_ids) for top in tops] == [[token, token + 1, token + 2] for token in SCRIPT[:20]]
    for num_tokens in (0, 1, 7, 20):
        rest = await served.resume(whole.started.session_id, *after(num_tokens))
        assert [top for part in rest.parts for top in part.top_log_probs] == tops[num_tokens:]
    plain = await served.text()
    rest = await served.resume(plain.started.session_id, *after(7))
    assert not any(part.top_log_probs for part in (*plain.parts, *rest.parts))


async def test_every_position_resumes_with_just_the_text_that_is_missing(stage: Stage) -> None:
    # Tokens of bytes within characters, and text that is held back for a stop string.
    script = [token for token in range(2, 258) if token % 3]
    verify = await stage.verify(lambda ids: script[len(ids) - len(PROMPT)])
    served = await stage.orchestrator([verify])
    stop = ["\x00\x00", "zz~"]
    whole = await served.text(max_tokens=60, stop=stop)
    seen, shown = list(PROMPT), ""
    for part in whole.parts:
        rest = await served.resume(whole.started.session_id, len(seen), RunningDigest(seen).value)
        assert shown + rest.text == whole.text
        seen.extend(part.token_ids)
        shown += part.text


async def test_a_text_that_differs_is_never_spliced(served: Served) -> None:
    whole = await served.text()
    session_id = whole.started.session_id
    position, digest = after(8)
    await fails(served.resume(session_id, position, bytes(16)), grpc.StatusCode.DATA_LOSS)
    await fails(served.resume(session_id, position + 1, digest), grpc.StatusCode.DATA_LOSS)
    await fails(served.resume(session_id, 1, RunningDigest(PROMPT[:1]).value), grpc.StatusCode.DATA_LOSS)
    await fails(served.resume(session_id, 100, digest), grpc.StatusCode.FAILED_PRECONDITION)
    await fails(served.resume(session_id, position, b"short"), grpc.StatusCode.INVALID_ARGUMENT)
    await fails(served.resume("../etc", position, digest), grpc.StatusCode.INVALID_ARGUMENT)
    message = await fails(served.resume("nobody", position, digest), grpc.StatusCode.NOT_FOUND)
    assert "nobody" in message


async def fall_back_to_four_tokens(stage: Stage, session_id: str) -> None:
    """The store has of the text what it had then, and nothing of its end."""
    client = redis.from_url(stage.redis_url)
    record, tokens, log_probs, rounds, _, _, tops = keys_of(session_id)
    position, digest = after(4)
    await client.hset(record, mapping={"position": position, "digest": digest, "ended": ""})
    await client.set(tokens, (await client.get(tokens))[: 4 * position], keepttl=True)
    await client.set(log_probs, (await client.get(log_probs))[: 8 * 4], keepttl=True)
    await client.set(rounds, (await client.get(rounds))[: 24 * 4], keepttl=True)
    await client.set(tops, (await client.get(tops))[: (1 + 2 * 12) * 4], keepttl=True)
    await client.aclose()


async def test_a_client_that_has_all_of_a_text_is_told_its_end_though_the_store_lost_it(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify])
    whole = await served.text(num_top_log_probs=2)
    session_id, text = whole.started.session_id, (*PROMPT, *SCRIPT[:20])
    await fall_back_to_four_tokens(stage, session_id)
    past = (*text, SCRIPT[20])
    await fails(
        served.resume(session_id, len(past), RunningDigest(past).value, past), grpc.StatusCode.FAILED_PRECONDITION
    )
    for _ in range(2):
        rest = await served.resume(session_id, *after(20), text)
        assert (rest.token_ids, rest.finished.reason) == ((), whole.finished.reason)
        assert rest.finished.usage.completion_tokens == 20
    found = await served.stub.GetSession(pb.GetSessionRequest(session_id=session_id))
    assert (found.position, found.finished, found.reason) == (*after(20)[:1], True, whole.finished.reason)


async def test_what_the_store_lost_is_restored_from_the_client(stage: Stage) -> None:
    verify = await stage.verify()
    verify.round_seconds = 0.02
    served = await stage.orchestrator([verify])
    session_id, parts = await leave_after(served, 10, num_top_log_probs=2)
    await until(lambda: session_id in verify.closed)
    await asyncio.sleep(0.05)
    await fall_back_to_four_tokens(stage, session_id)
    position, digest = after(len(parts))
    other = (*PROMPT, *SCRIPT[1 : len(parts) + 1])
    await fails(served.resume(session_id, position, RunningDigest(other).value, other), grpc.StatusCode.DATA_LOSS)
    await fails(served.resume(session_id, position, digest), grpc.StatusCode.FAILED_PRECONDITION)
    foreign = (*PROMPT, *SCRIPT[: len(parts) - 1], 5000)
    digest_of_foreign = RunningDigest(foreign).value
    await fails(served.resume(session_id, position, digest_of_foreign, foreign), grpc.StatusCode.INVALID_ARGUMENT)
    rest = await served.resume(session_id, position, digest, (*PROMPT, *SCRIPT[: len(parts)]))
    assert rest.token_ids == SCRIPT[len(parts) : 20]
    assert rest.finished.usage.completion_tokens == 20
    # What the client restored is known without its log-probabilities; what came before and after has them.
    assert all(len(part.top_log_probs) == len(part.token_ids) for part in rest.parts)
    everything = await served.resume(session_id, *after(0))
    assert everything.parts[0].log_probs == everything.parts[0].top_log_probs == []


async def test_a_store_that_comes_back_empty_is_written_anew_while_the_text_goes_on(
    stage: Stage, own_redis: RedisServer
) -> None:
    stage.redis_url = own_redis.url
    verify, draft = await stage.verify(), await stage.draft()

    def outage(number: int) -> None:
        if number == 5:
            own_redis.kill()

    draft.before_round = outage
    served = await stage.orchestrator([verify], [draft])
    reading = asyncio.create_task(served.text(max_tokens=60))
    await until(lambda: served.metric("commits_total", answer="failed") > 0)
    paused_at = draft.num_rounds
    await asyncio.sleep(0.2)
    assert draft.num_rounds == paused_at  # an outage pauses work; it does not pile up
    own_redis.start()
    text = await reading
    assert text.token_ids == SCRIPT[:57] + SCRIPT[:3]
    found = await served.stub.GetSession(pb.GetSessionRequest(session_id=text.started.session_id))
    assert (found.position, found.finished) == (63, True)
    assert served.metric("commits_total", answer="gap") == 1


async def test_cancelling_ends_a_running_stream_wherever_it_runs(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    draft.round_seconds = 0.02
    here, there = await stage.orchestrator([verify], [draft]), await stage.orchestrator([verify], [draft])
    for served in (here, there):
        call = aiter(here.generate(max_tokens=400))
        session_id = (await anext(call)).started.session_id
        await anext(call)
        await served.stub.Cancel(pb.CancelRequest(session_id=session_id))
        messages = [message async for message in call]
        assert messages[-1].finished.reason == pb.FINISH_REASON_CANCELLED
        assert messages[-1].finished.usage.completion_tokens > 0
        await until(lambda session_id=session_id: session_id in draft.closed)
        await served.stub.Cancel(pb.CancelRequest(session_id=session_id))
        found = await served.stub.GetSession(pb.GetSessionRequest(session_id=session_id))
        assert (found.finished, found.reason) == (True, pb.FINISH_REASON_CANCELLED)
        position = messages[-2].part.position + len(messages[-2].part.token_ids) if len(messages) > 1 else None
        assert position in (None, found.position)
    await fails(here.stub.Cancel(pb.CancelRequest(session_id="nobody")), grpc.StatusCode.NOT_FOUND)


async def test_cancelling_an_ended_session_changes_nothing(served: Served) -> None:
    text = await served.text()
    await served.stub.Cancel(pb.CancelRequest(session_id=text.started.session_id))
    found = await served.stub.GetSession(pb.GetSessionRequest(session_id=text.started.session_id))
    assert found.reason == pb.FINISH_REASON_LENGTH


async def test_a_session_tells_where_it_stands(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    served = await stage.orchestrator([verify], [draft])
    text = await served.text()
    found = await served.stub.GetSession(pb.GetSessionRequest(session_id=text.started.session_id))
    assert (found.position, found.digest) == after(20)
    assert found.epoch == 1
    assert found.decoding == text.started.decoding
    assert {(hint.role, hint.address) for hint in found.kv_references} == {
        ("verify", verify.address),
        ("draft", draft.address),
    }
    await fails(served.stub.GetSession(pb.GetSessionRequest(session_id="nobody")), grpc.StatusCode.NOT_FOUND)


async def test_a_second_stream_of_a_session_takes_it_over_from_the_first(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    draft.round_seconds = 0.02
    served = await stage.orchestrator([verify], [draft])
    call = aiter(served.generate(max_tokens=60))
    session_id = (await anext(call)).started.session_id
    await anext(call)
    rest = await served.resume(session_id, *after(0))
    assert rest.token_ids == SCRIPT[:57] + SCRIPT[:3]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [message async for message in call]
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
