"""Sessions from a client's point of view: what is streamed, and that it was committed before."""

from __future__ import annotations

import asyncio
import math

import grpc
import pytest

from orchestrator.session_store import Lifetimes, SessionStore
from tandem.decoding.values import RunningDigest
from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2 as pb
from tandem.v1.types_pb2 import LogitBias
from tests.orchestrator.conftest import PROMPT, SCRIPT, Served, Stage
from tests.support.waiting import until


async def test_a_text_is_streamed_from_its_start_to_its_end(served: Served, tokenizer: Tokenizer) -> None:
    text = await served.text(seed=7)
    assert tuple(text.started.prompt_token_ids) == PROMPT
    assert text.started.decoding.sampling.seed == 7
    assert text.started.decoding.speculation.method == "mtad"
    assert text.token_ids == SCRIPT[:20]
    assert text.text == tokenizer.decode(SCRIPT[:20])
    seen = list(PROMPT)
    for part in text.parts:
        assert part.position == len(seen)
        assert len(part.log_probs) == len(part.token_ids)
        seen.extend(part.token_ids)
        assert part.digest == RunningDigest(seen).value
        assert not part.rounds
    assert text.finished.reason == pb.FINISH_REASON_LENGTH
    usage = text.finished.usage
    assert (usage.method, usage.prompt_tokens, usage.completion_tokens) == ("mtad", 3, 20)
    assert usage.num_draft_tokens == 4 * usage.num_spec_steps
    assert usage.mean_acceptance_length == pytest.approx(1 + usage.num_accepted_draft_tokens / usage.num_spec_steps)
    assert sum(usage.acceptance_histogram) == usage.num_spec_steps == usage.num_target_passes
    assert usage.output_perplexity == pytest.approx(math.exp(0.25))
    assert usage.time_to_first_token_seconds > 0


async def test_what_is_shown_has_been_committed(served: Served, stage: Stage) -> None:
    store = SessionStore(stage.redis_url, Lifetimes())
    session_id = ""
    try:
        async for message in served.generate(max_tokens=60):
            if message.HasField("started"):
                session_id = message.started.session_id
            elif message.HasField("part"):
                record = await store.read(session_id)
                shown = message.part.position + len(message.part.token_ids)
                assert record.position >= shown
                assert RunningDigest(record.token_ids[:shown]).value == message.part.digest
        assert (await store.read(session_id)).ended == "length"
    finally:
        await store.close()


async def test_a_prompt_of_text_is_tokenised(stage: Stage, tokenizer: Tokenizer) -> None:
    prompt = "select name"
    verify = await stage.verify(lambda ids: 40)
    served = await stage.orchestrator([verify])
    text = await served.text(text=prompt, max_tokens=3)
    assert list(text.started.prompt_token_ids) == tokenizer.encode(prompt)
    assert text.token_ids == (40, 40, 40)


async def test_a_seed_is_drawn_where_none_is_given(served: Served) -> None:
    seeds = {(await served.text(max_tokens=1)).started.decoding.sampling.seed for _ in range(3)}
    assert len(seeds) == 3


async def test_options_reach_the_replicas(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    served = await stage.orchestrator([verify], [draft], method="mmtad", draft_length=3, beam_width=2, threshold=0.3)
    await served.text(max_tokens=4)
    await served.text(
        max_tokens=9,
        method="block",
        temperature=0.0,
        top_k=0,
        top_p=1.0,
        min_p=0.1,
        draft_length=7,
        presence_penalty=0.5,
        frequency_penalty=-1.5,
        logit_bias=[LogitBias(token_id=7, bias=-100), LogitBias(token_id=5, bias=0.25)],
        cache_salt=b"\xffsalt",
    )
    first, second = (run.decoding for run in draft.opened)
    spec = first.speculation
    assert (spec.method, spec.draft_length, spec.beam_width, spec.threshold) == ("mmtad", 3, 2, 0.3)
    assert (second.speculation.method, second.speculation.draft_length, second.max_position) == ("block", 7, 12)
    sampling = second.sampling
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.0, 0, 1.0, 0.1)
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.5, -1.5)
    assert sampling.logit_bias == ((7, -100.0), (5, 0.25))
    assert (first.sampling.presence_penalty, first.sampling.frequency_penalty, first.sampling.logit_bias) == (0, 0, ())
    assert (second.prompt_length, second.eos_token_ids) == (3, (1,))
    assert (first.cache_salt, second.cache_salt) == (b"", b"\xffsalt")


@pytest.mark.parametrize("method", ["autoregressive", "mtjd"])
async def test_methods_of_the_target_alone_are_never_drafted(stage: Stage, method: str) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    served = await stage.orchestrator([verify], [draft])
    text = await served.text(method=method)
    assert text.token_ids == SCRIPT[:20]
    assert (text.finished.usage.num_spec_steps, text.finished.usage.mean_acceptance_length) == (0, 1)
    assert not draft.opened


async def test_a_trace_describes_every_round(served: Served) -> None:
    text = await served.text(trace=True, max_tokens=10)
    rounds = [found for part in text.parts for found in part.rounds]
    assert len(rounds) == len(text.parts) == text.finished.usage.num_spec_steps
    assert tuple(token for found in rounds for token in found.outcome.token_ids) == SCRIPT[:10]
    assert all(found.outcome.timings.commit_seconds > 0 for found in rounds)


async def test_outcomes_delivered_twice_are_appended_once(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    draft.repeats = 2
    served = await stage.orchestrator([verify], [draft])
    text = await served.text(max_tokens=40)
    assert text.token_ids == SCRIPT[:40]
    assert served.metric("commits_total", answer="duplicate") > 0


async def test_sessions_side_by_side_do_not_mix(served: Served) -> None:
    texts = await asyncio.gather(*(served.text(max_tokens=1 + n) for n in range(30)))
    assert [text.token_ids for text in texts] == [SCRIPT[: 1 + n] for n in range(30)]
    assert len({text.started.session_id for text in texts}) == 30


async def test_a_reader_that_does_not_read_pauses_itself_alone(stage: Stage) -> None:
    verify = await stage.verify(max_positions=200_000)
    draft = await stage.draft(max_positions=200_000)
    served = await stage.orchestrator([verify], [draft])
    idle = served.generate(max_tokens=150_000, trace=True)
    started = (await idle.read()).started
    # Its parts fill the buffers between here and there; then commits stop.
    position, still = 0, 0
    while still < 10:
        await asyncio.sleep(0.05)
        session = await served.stub.GetSession(pb.GetSessionRequest(session_id=started.session_id))
        still = still + 1 if session.position == position else 0
        position = session.position
    assert 3 < position < 20_000
    assert len(draft.runs[started.session_id].token_ids) <= position + 2 * 5
    assert (await served.text()).token_ids == SCRIPT[:20]
    idle.cancel()
    await until(lambda: started.session_id in draft.closed)


async def test_work_is_counted(served: Served) -> None:
    text = await served.text()
    assert served.metric("prompt_tokens_total") == 3
    assert served.metric("generation_tokens_total") == 20
    assert served.metric("request_success_total", finished_reason="length") == 1
    assert served.metric("commits_total", answer="ok") == len(text.parts)
    assert served.metric("commit_seconds_count") == len(text.parts)
    assert served.metric("time_to_first_token_seconds_count") == 1
    assert served.metric("request_time_per_output_token_seconds_count") == 1
    assert served.metric("e2e_request_latency_seconds_count") == 1
    assert served.metric("output_negative_log_likelihood_total") == 5
    assert served.metric("num_requests_running") == 0


async def test_more_sessions_than_allowed_are_told_when_to_come_back(stage: Stage) -> None:
    verify = await stage.verify()
    verify.round_seconds = 0.02
    served = await stage.orchestrator([verify], max_sessions=1, max_waiting=0)
    running = aiter(served.generate())
    await anext(running)
    error = await served.refusal()
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(error.trailing_metadata())["retry-after-seconds"] == "1"
    rest = [message async for message in running]
    assert rest[-1].HasField("finished")
    assert (await served.text(max_tokens=1)).token_ids == SCRIPT[:1]


async def test_a_deadline_ends_the_stream_and_the_work(stage: Stage) -> None:
    verify = await stage.verify()
    verify.round_seconds = 0.05
    served = await stage.orchestrator([verify])
    request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=PROMPT), max_tokens=400, method="autoregressive")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.read(served.stub.Generate(request, timeout=2.0))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: len(verify.closed) == 1)


async def test_the_stand_in_for_redis_serves_as_well(stage: Stage, fakeredis_url: str) -> None:
    stage.redis_url = fakeredis_url
    served = await stage.orchestrator([await stage.verify()], [await stage.draft()])
    texts = await asyncio.gather(*(served.text() for _ in range(5)))
    assert {text.token_ids for text in texts} == {SCRIPT[:20]}
    again = await served.resume(texts[0].started.session_id, len(PROMPT), RunningDigest(PROMPT).value)
    assert again.token_ids == SCRIPT[:20]
