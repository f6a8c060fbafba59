"""Rounds over a real socket: verdicts are right, repeated, superseded, and never wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.values import EMPTY_TREE, Proposal, RunningDigest
from tandem.rpc.codec import decode_outcome, encode_fence
from tandem.v1 import verify_pb2
from tests.support.judging import JudgeClient, draft, judging, status_of
from tests.support.model_services import (
    PROMPT,
    Running,
    decoding,
    fence,
    outcomes_in_one_process,
    text_alone,
    verify_replica,
)

MTAD = decoding("mtad")


@pytest.fixture
async def replica() -> AsyncIterator[Running]:
    async with verify_replica() as running:
        yield running


@pytest.fixture
async def client(replica: Running) -> AsyncIterator[JudgeClient]:
    async with judging(replica) as client:
        yield client


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.target_only])
async def test_verdicts_are_those_of_one_process(client: JudgeClient, method: str) -> None:
    decode = decoding(method)
    text = list(PROMPT)
    await client.open(text, decode)
    assert (await client.opened()).cached_position == 0
    for expected in outcomes_in_one_process(decode):
        await client.ask(text, draft(text, decode))
        verdict = await client.verdict()
        outcome = decode_outcome(verdict.outcome)
        assert outcome.token_ids == expected.token_ids
        assert (outcome.num_accepted, outcome.num_drafted) == (expected.num_accepted, expected.num_drafted)
        assert outcome.log_probs == pytest.approx(expected.log_probs)
        text += outcome.token_ids
        assert outcome.next_digest == RunningDigest(text).value
        assert not verdict.repeated_answer
        assert not verdict.superseded


async def test_a_repeated_proposal_gets_the_same_answer_byte_for_byte(client: JudgeClient) -> None:
    await client.open(PROMPT, MTAD)
    await client.opened()
    proposal = draft(PROMPT, MTAD)
    await client.ask(PROMPT, proposal)
    first = await client.verdict()
    await client.ask(PROMPT, proposal)
    again = await client.verdict()
    assert again.repeated_answer
    assert not again.superseded
    assert again.outcome.SerializeToString(deterministic=True) == first.outcome.SerializeToString(deterministic=True)


async def test_two_deliveries_at_once_are_judged_once(replica: Running, client: JudgeClient) -> None:
    await client.open(PROMPT, MTAD)
    await client.opened()
    proposal = draft(PROMPT, MTAD)
    for _ in range(3):
        await client.ask(PROMPT, proposal)
    verdicts = [await client.verdict() for _ in range(3)]
    assert len({verdict.outcome.SerializeToString(deterministic=True) for verdict in verdicts}) == 1
    assert [verdict.repeated_answer for verdict in verdicts] == [False, True, True]
    await client.nothing_comes("sentinel", MTAD)
    assert replica.metric("rounds_total", verdict="judged") == 1


async def test_another_proposal_for_a_judged_round_gets_that_rounds_outcome(client: JudgeClient) -> None:
    await client.open(PROMPT, MTAD)
    await client.opened()
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    first = await client.verdict()
    await client.ask(PROMPT, draft(PROMPT, decoding("mtad", seed=99)))
    other = await client.verdict()
    assert other.superseded
    assert not other.repeated_answer
    assert other.outcome == first.outcome


async def test_a_session_that_is_not_open_is_a_miss_from_the_start(client: JudgeClient) -> None:
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    miss = await client.kv_miss()
    assert miss.have_position == 0
    assert miss.name.position == len(PROMPT)


async def test_missing_tokens_are_asked_for_and_then_judged_rightly(client: JudgeClient) -> None:
    await client.open(PROMPT[:2], MTAD)
    await client.opened()
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    miss = await client.kv_miss()
    assert miss.have_position == 2
    assert miss.have_digest == RunningDigest(PROMPT[:2]).value
    await client.send(
        extend=verify_pb2.ExtendSequence(
            session_id="s", fence=encode_fence(fence()), from_position=2, token_ids=PROMPT[2:]
        )
    )
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    assert tuple((await client.verdict()).outcome.token_ids) == outcomes_in_one_process(MTAD)[0].token_ids


async def test_a_text_that_differs_is_a_miss_never_an_answer(client: JudgeClient) -> None:
    await client.open([1, 2, 4], MTAD)
    await client.opened()
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    miss = await client.kv_miss()
    assert (miss.have_position, miss.have_digest) == (3, RunningDigest([1, 2, 4]).value)
    await client.send(
        extend=verify_pb2.ExtendSequence(session_id="s", fence=encode_fence(fence()), from_position=0, token_ids=PROMPT)
    )
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    assert tuple((await client.verdict()).outcome.token_ids) == outcomes_in_one_process(MTAD)[0].token_ids


async def test_the_third_uncommitted_round_waits_for_the_watermark(client: JudgeClient) -> None:
    text = list(PROMPT)
    await client.open(text, MTAD)
    await client.opened()
    ends = []
    for _ in range(2):
        await client.ask(text, draft(text, MTAD), committed=len(PROMPT))
        text += (await client.verdict()).outcome.token_ids
        ends.append(len(text))
    await client.ask(text, draft(text, MTAD), committed=len(PROMPT))
    await client.nothing_comes("sentinel", MTAD)
    await client.commit(ends[0])
    verdict = await client.verdict()
    assert verdict.name.position == ends[1]
    assert tuple(verdict.outcome.token_ids) == outcomes_in_one_process(MTAD)[2].token_ids


async def test_a_round_past_its_deadline_is_refused(client: JudgeClient) -> None:
    text = list(PROMPT)
    await client.open(text, MTAD)
    await client.opened()
    for _ in range(2):
        await client.ask(text, draft(text, MTAD), committed=len(PROMPT))
        text += (await client.verdict()).outcome.token_ids
    await client.ask(text, draft(text, MTAD), committed=len(PROMPT), timeout_seconds=0.05)
    refusal = await client.refused()
    assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


async def test_a_session_past_its_deadline_is_ended(client: JudgeClient) -> None:
    await client.open(PROMPT, MTAD, timeout_seconds=0.05)
    await client.opened()
    assert (await client.refused()).code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


async def test_a_round_sent_ahead_is_judged_when_its_text_comes_true(client: JudgeClient) -> None:
    first, second, *_ = outcomes_in_one_process(MTAD)
    later = [*PROMPT, *first.token_ids]
    await client.open(PROMPT, MTAD)
    await client.opened()
    await client.ask(later, draft(later, MTAD), sent_ahead=True, committed=len(PROMPT))
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    assert tuple((await client.verdict()).outcome.token_ids) == first.token_ids
    ahead = await client.verdict()
    assert ahead.name.position == len(later)
    assert tuple(ahead.outcome.token_ids) == second.token_ids


async def test_a_round_sent_ahead_on_a_wrong_guess_is_dropped(client: JudgeClient) -> None:
    first = outcomes_in_one_process(MTAD)[0]
    wrong = [*PROMPT, *first.token_ids[:-1], (first.token_ids[-1] + 1) % 8]
    await client.open(PROMPT, MTAD)
    await client.opened()
    await client.ask(wrong, draft(wrong, MTAD), sent_ahead=True, committed=len(PROMPT))
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    await client.verdict()
    assert (await client.dropped()).name.position == len(wrong)


async def test_of_two_rounds_sent_ahead_the_latest_is_held(client: JudgeClient) -> None:
    first = outcomes_in_one_process(MTAD)[0]
    later = [*PROMPT, *first.token_ids]
    await client.open(PROMPT, MTAD)
    await client.opened()
    await client.ask([*later, 1], draft([*later, 1], MTAD), sent_ahead=True, committed=len(PROMPT))
    await client.ask(later, draft(later, MTAD), sent_ahead=True, committed=len(PROMPT))
    assert (await client.dropped()).name.position == len(later) + 1
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    await client.verdict()
    assert (await client.verdict()).name.position == len(later)


async def test_many_sessions_are_judged_in_few_passes_and_each_as_if_alone(
    replica: Running, client: JudgeClient
) -> None:
    seeds = range(12)
    expected = {f"s{seed}": outcomes_in_one_process(decoding("mtad", seed))[0].token_ids for seed in seeds}
    for seed in seeds:
        await client.open(PROMPT, decoding("mtad", seed), session_id=f"s{seed}")
        await client.ask(PROMPT, draft(PROMPT, decoding("mtad", seed)), session_id=f"s{seed}")
    answered = {}
    while len(answered) < len(expected):
        response = await client.read()
        if response.WhichOneof("body") == "verdict":
            answered[response.verdict.name.session_id] = tuple(response.verdict.outcome.token_ids)
    assert answered == expected
    await client.nothing_comes("sentinel", MTAD)
    assert replica.metric("spec_decode_num_drafts_total") == len(expected)


async def test_a_client_that_has_said_all_it_will_still_gets_its_answers(client: JudgeClient) -> None:
    await client.open(PROMPT, MTAD)
    await client.ask(PROMPT, draft(PROMPT, MTAD))
    await client.call.done_writing()
    await client.opened()
    await client.verdict()
    assert await asyncio.wait_for(client.call.read(), 5) is grpc.aio.EOF
    assert await status_of(client.call) is grpc.StatusCode.OK


async def test_the_metrics_count_drafted_and_accepted_tokens(replica: Running, client: JudgeClient) -> None:
    outcomes = outcomes_in_one_process(MTAD)
    text = list(PROMPT)
    await client.open(text, MTAD)
    await client.opened()
    for _ in outcomes:
        await client.ask(text, draft(text, MTAD))
        text += (await client.verdict()).outcome.token_ids
    await client.nothing_comes("sentinel", MTAD)
    accepted = sum(outcome.num_accepted for outcome in outcomes)
    assert replica.metric("spec_decode_num_drafts_total") == len(outcomes)
    assert replica.metric("spec_decode_num_draft_tokens_total") == sum(outcome.num_drafted for outcome in outcomes)
    assert replica.metric("spec_decode_num_accepted_tokens_total") == accepted
    by_place = [
        replica.metric("spec_decode_num_accepted_tokens_per_pos_total", position=str(place)) for place in range(3)
    ]
    assert sum(by_place) == accepted
    assert by_place == sorted(by_place, reverse=True)
    assert replica.metric("round_stage_seconds_count", stage="forward") == len(outcomes)


@pytest.mark.parametrize("method", ["bild", "speculative", "mtad", "mmtad", "coupled", "specinfer"])
async def test_an_empty_proposal_asks_for_one_token_of_the_targets_own(
    replica: Running, client: JudgeClient, method: str
) -> None:
    decode = decoding(method, trace=True)
    text = list(PROMPT)
    await client.open(text, decode)
    await client.opened()
    for _ in range(4):
        nothing = Proposal(EMPTY_TREE, digest=RunningDigest(text).value)
        await client.ask(text, nothing)
        outcome = decode_outcome((await client.verdict()).outcome)
        assert (len(outcome.token_ids), outcome.num_accepted, outcome.num_drafted) == (1, 0, 0)
        assert outcome.proposal_digest == nothing.digest
        assert outcome.trace is not None
        assert outcome.trace.token_ids == ()
        await client.ask(text, nothing)
        assert (await client.verdict()).repeated_answer
        text += outcome.token_ids
    assert text[len(PROMPT) :] == text_alone(decode)[:4]
    await client.nothing_comes("sentinel", MTAD)
    assert replica.metric("rounds_total", verdict="judged") == 4
    assert replica.metric("spec_decode_num_drafts_total") == 0
    assert replica.metric("spec_decode_num_draft_tokens_total") == 0


async def test_the_text_alone_differs_from_nothing_when_coupled(client: JudgeClient) -> None:
    decode = decoding("coupled")
    text = list(PROMPT)
    await client.open(text, decode)
    await client.opened()
    while len(text) < 30:
        await client.ask(text, draft(text, decode))
        text += (await client.verdict()).outcome.token_ids
    assert text[len(PROMPT) : 30] == text_alone(decoding("autoregressive"))[: 30 - len(PROMPT)]
