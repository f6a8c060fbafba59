"""Leases over real sockets: a draft and a verify replica talk, this test plays the orchestrator."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from draft_service.drafter import Limits
from draft_service.metrics import DraftMetrics
from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Fence, RunningDigest
from tandem.rpc.codec import encode_decoding, encode_fence
from tandem.v1 import draft_pb2, draft_pb2_grpc, types_pb2, verify_pb2
from tests.support.judging import judging
from tests.support.model_services import (
    PATIENCE,
    PROMPT,
    Running,
    decoding,
    draft_replica,
    fence,
    outcomes_in_one_process,
    text_alone,
    verify_replica,
)
from tests.support.waiting import until

MTAD = decoding("mtad")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]


def text_in_one_process(decode: Decoding, prompt: Sequence[int] = PROMPT) -> list[int]:
    return [
        *prompt,
        *(token for outcome in outcomes_in_one_process(decode, list(prompt)) for token in outcome.token_ids),
    ]


class LeaseClient:
    """One Lease stream."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self.call = call

    async def grant(
        self,
        verify: str,
        decode: Decoding = MTAD,
        token_ids: Sequence[int] = PROMPT,
        owner: Fence | None = None,
        session_id: str = "s",
        lease_seconds: float = 0.0,
        round_timeout_seconds: float = 0.0,
        timeout_seconds: float = 0.0,
    ) -> None:
        message = draft_pb2.GrantLease(
            session_id=session_id,
            fence=encode_fence(owner or fence()),
            decoding=encode_decoding(decode),
            token_ids=token_ids,
            verify_address=verify,
            lease_seconds=lease_seconds,
            round_timeout_seconds=round_timeout_seconds,
            timeout_seconds=timeout_seconds,
        )
        await self.call.write(draft_pb2.LeaseRequest(grant=message))

    async def commit(self, position: int, owner: Fence | None = None, session_id: str = "s") -> None:
        message = types_pb2.CommitWatermark(
            session_id=session_id, fence=encode_fence(owner or fence()), position=position
        )
        await self.call.write(draft_pb2.LeaseRequest(committed=message))

    async def release(self, owner: Fence | None = None, session_id: str = "s") -> None:
        message = draft_pb2.ReleaseLease(session_id=session_id, fence=encode_fence(owner or fence()))
        await self.call.write(draft_pb2.LeaseRequest(release=message))

    async def read(self) -> draft_pb2.LeaseResponse:
        response = await asyncio.wait_for(self.call.read(), PATIENCE)
        assert isinstance(response, draft_pb2.LeaseResponse), f"the stream ended: {await self.call.code()}"
        return response

    async def outcome(self) -> draft_pb2.RoundOutcome:
        response = await self.read()
        assert response.WhichOneof("body") == "outcome", response
        return response.outcome

    async def ended(self) -> draft_pb2.LeaseEnded:
        """The end of the lease; outcomes that were on their way are passed over."""
        while (response := await self.read()).WhichOneof("body") == "outcome":
            pass
        return response.ended

    async def text(self, token_ids: Sequence[int], until: int, owner: Fence | None = None) -> list[int]:
        """Commits every outcome, until the text is ``until`` tokens long; checks that every round fits."""
        text = list(token_ids)
        while len(text) < until:
            outcome = await self.outcome()
            assert (outcome.name.position, outcome.name.digest) == (len(text), RunningDigest(text).value)
            text += outcome.outcome.token_ids
            await self.commit(len(text), owner)
        return text


@asynccontextmanager
async def leasing(replica: Running) -> AsyncIterator[LeaseClient]:
    async with await replica.channel() as channel:
        call = draft_pb2_grpc.DraftServiceStub(channel).Lease()  # type: ignore[no-untyped-call]
        try:
            yield LeaseClient(call)
        finally:
            call.cancel()


@pytest.fixture
async def verify() -> AsyncIterator[Running]:
    async with verify_replica() as running:
        yield running


@pytest.fixture
async def drafts() -> AsyncIterator[Running]:
    async with draft_replica() as running:
        yield running


@pytest.fixture
async def client(drafts: Running) -> AsyncIterator[LeaseClient]:
    async with leasing(drafts) as client:
        yield client


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if not method.target_only])
async def test_two_services_say_what_one_process_says(verify: Running, client: LeaseClient, method: str) -> None:
    decode = decoding(method)
    await client.grant(verify.address, decode)
    assert await client.text(PROMPT, decode.max_position) == text_in_one_process(decode)


@pytest.mark.parametrize("method", ["mtad", "mmtad", "bild"])
async def test_what_autoscaling_goes_by(verify: Running, drafts: Running, client: LeaseClient, method: str) -> None:
    replicas = {"num_rounds_waiting": verify, "queue_wait_seconds": drafts, "speculation_deficit": drafts}
    assert [replica.metric(name) for name, replica in replicas.items()] == [0, 0, 0]
    decode = decoding(method)
    await client.grant(verify.address, decode)
    await client.text(PROMPT, decode.max_position)
    for replica in (verify, drafts):
        assert 0 < replica.metric("busy_share") <= 1
    assert verify.metric("num_rounds_waiting") > 0
    assert drafts.metric("queue_wait_seconds") > 0
    assert drafts.metric("speculation_deficit") == 0  # nothing was cut short, at the text's end neither


def test_the_deficit_is_what_was_not_drafted_of_what_was_wanted() -> None:
    registry = CollectorRegistry()
    metrics = DraftMetrics(registry)
    for depth, wanted in ((4, 4), (2, 4), (0, 0), (3, 2)):
        metrics.count_drafted(depth, wanted, 0.25)
    assert registry.get_sample_value("tandem:speculation_deficit") == pytest.approx(0.2)
    assert registry.get_sample_value("tandem:queue_wait_seconds") == 0.25


async def test_drafts_that_fall_back_go_on_where_nothing_is_proposed(verify: Running, client: LeaseClient) -> None:
    decode = decoding("bild", trace=True)
    expected = outcomes_in_one_process(decode)
    assert {outcome.num_drafted for outcome in expected} >= {0, 1}
    await client.grant(verify.address, decode)
    position = len(PROMPT)
    for outcome in expected:
        told = (await client.outcome()).outcome
        assert (tuple(told.token_ids), told.num_drafted) == (outcome.token_ids, outcome.num_drafted)
        assert outcome.trace is not None
        assert tuple(told.trace.token_ids) == outcome.trace.token_ids
        position += len(outcome.token_ids)
        await client.commit(position)
    # A pass is counted once its verdicts are on their way.
    await until(lambda: verify.metric("rounds_total", verdict="judged") == len(expected))
    drafted = sum(outcome.num_drafted > 0 for outcome in expected)
    await until(lambda: verify.metric("spec_decode_num_drafts_total") == drafted)


async def test_coupled_drafts_say_what_the_target_says_alone(verify: Running, client: LeaseClient) -> None:
    await client.grant(verify.address, decoding("coupled"))
    text = await client.text(PROMPT, 60)
    assert text[len(PROMPT) : 60] == text_alone(decoding("autoregressive"))


async def test_many_sessions_share_one_stream_and_each_is_as_if_alone(verify: Running, client: LeaseClient) -> None:
    decodes = {f"s{seed}": decoding("mmtad", seed, max_position=30) for seed in range(10)}
    for session_id, decode in decodes.items():
        await client.grant(verify.address, decode, session_id=session_id)
    texts = {session_id: list(PROMPT) for session_id in decodes}
    while any(len(text) < 30 for text in texts.values()):
        outcome = await client.outcome()
        session_id = outcome.name.session_id
        texts[session_id] += outcome.outcome.token_ids
        await client.commit(len(texts[session_id]), session_id=session_id)
    assert texts == {session_id: text_in_one_process(decode) for session_id, decode in decodes.items()}


async def test_an_outcome_says_where_its_time_went(verify: Running, client: LeaseClient) -> None:
    await client.grant(verify.address)
    timings = (await client.outcome()).outcome.timings
    assert timings.draft_seconds > 0
    assert 0 < timings.forward_seconds + timings.judge_seconds <= timings.verify_round_trip_seconds


async def test_two_outcomes_may_be_uncommitted_and_no_more(verify: Running, client: LeaseClient) -> None:
    await client.grant(verify.address)
    first, second = await client.outcome(), await client.outcome()
    await client.grant(verify.address, session_id="sentinel")
    assert (await client.outcome()).name.session_id == "sentinel"
    assert (await client.outcome()).name.session_id == "sentinel"
    await client.commit(second.name.position)
    third = await client.outcome()
    assert third.name.session_id == "s"
    assert third.name.position == second.name.position + len(second.outcome.token_ids)
    assert first.name.position == len(PROMPT)


async def test_a_released_session_is_worked_on_no_further_and_comes_back_warm(
    verify: Running, client: LeaseClient
) -> None:
    await client.grant(verify.address)
    text = await client.text(PROMPT, 20)
    await client.release()
    owner = fence(2, "b")
    await client.grant(verify.address, token_ids=text, owner=owner)
    outcomes = []
    while not outcomes or outcomes[-1].name.fence.epoch != 2:
        outcomes.append(await client.outcome())
    assert len(outcomes) <= 3  # two of the old lease may have been on their way
    assert outcomes[-1].name.position == len(text)
    text += outcomes[-1].outcome.token_ids
    await client.commit(len(text), owner)
    assert await client.text(text, 60, owner) == text_in_one_process(MTAD)


async def test_another_drafter_takes_over_and_the_text_is_the_same(verify: Running) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(draft_replica())
        second = await stack.enter_async_context(draft_replica())
        async with leasing(first) as lost:
            await lost.grant(verify.address)
            text = await lost.text(PROMPT, 20)
            await lost.outcome()  # it is judged, and dies with its owner
        async with leasing(second) as heir:
            owner = fence(2, "b")
            await heir.grant(verify.address, token_ids=text, owner=owner)
            assert await heir.text(text, 60, owner) == text_in_one_process(MTAD)


async def test_another_verify_replica_takes_over_and_the_text_is_the_same(client: LeaseClient) -> None:
    async with verify_replica() as second:
        async with verify_replica() as first:
            await client.grant(first.address)
            text = await client.text(PROMPT, 20)
            first.begin_to_stop()
            ended = await client.ended()
            assert ended.verify_failed
            assert ended.refusal.code == UNAVAILABLE
        owner = fence(2, "b")
        await client.grant(second.address, token_ids=text, owner=owner)
        assert await client.text(text, 60, owner) == text_in_one_process(MTAD)


async def test_a_text_that_the_verify_replica_lost_is_supplied_again(
    verify: Running, drafts: Running, client: LeaseClient
) -> None:
    await client.grant(verify.address)
    text = await client.text(PROMPT, 20)
    first, second = await client.outcome(), await client.outcome()
    # Somebody in the same name has the replica take another text, of which only the beginning is right.
    async with judging(verify) as meddler:
        spoilt = verify_pb2.ExtendSequence(
            session_id="s", fence=encode_fence(fence()), from_position=10, token_ids=[(text[10] + 1) % 8]
        )
        await meddler.send(extend=spoilt)
        await meddler.nothing_comes("sentinel", MTAD)
        text += [*first.outcome.token_ids, *second.outcome.token_ids]
        await client.commit(len(text))
        assert await client.text(text, 60) == text_in_one_process(MTAD)
    assert drafts.metric("kv_misses_total") >= 1


async def test_an_older_owner_is_refused_and_a_newer_one_takes_over(verify: Running, drafts: Running) -> None:
    async with leasing(drafts) as former, leasing(drafts) as heir:
        await former.grant(verify.address, owner=fence(3))
        await former.outcome()
        await heir.grant(verify.address, owner=fence(2, "b"))
        ended = await heir.ended()
        assert ended.refusal.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
        assert ended.refusal.highest_epoch == 3
        owner = fence(4, "b")
        await heir.grant(verify.address, owner=owner)
        assert (await former.ended()).refusal.highest_epoch == 4
        assert await heir.text(PROMPT, 60, owner) == text_in_one_process(MTAD)


async def test_a_session_fenced_off_at_the_verify_replica_ends_with_its_epoch(
    verify: Running, client: LeaseClient
) -> None:
    async with judging(verify) as other:
        await other.open(PROMPT, MTAD, fence(9, "z"))
        await other.opened()
        await client.grant(verify.address)
        ended = await client.ended()
    assert ended.refusal.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert ended.refusal.highest_epoch == 9
    assert not ended.verify_failed


async def test_a_dead_verify_port_ends_the_lease_and_no_other(verify: Running, client: LeaseClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        await client.grant(f"127.0.0.1:{unused.getsockname()[1]}", session_id="bad")
        ended = await client.ended()
    assert (ended.refusal.session_id, ended.refusal.code, ended.verify_failed) == ("bad", UNAVAILABLE, True)
    await client.grant(verify.address)
    assert await client.text(PROMPT, 60) == text_in_one_process(MTAD)


async def test_a_verify_replica_that_never_answers_ends_the_lease(client: LeaseClient) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass
        writer.close()

    silent = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with silent:
        address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        await client.grant(address, round_timeout_seconds=0.2)
        ended = await client.ended()
    assert ended.verify_failed
    assert ended.refusal.code == UNAVAILABLE


async def test_a_lease_expires_unless_watermarks_renew_it(verify: Running, client: LeaseClient) -> None:
    await client.grant(verify.address, lease_seconds=0.4)
    ended = await client.ended()
    assert ended.refusal.code == UNAVAILABLE
    assert not ended.verify_failed
    owner = fence(2)
    await client.grant(verify.address, owner=owner, lease_seconds=0.4)
    text = list(PROMPT)
    for _ in range(5):
        await asyncio.sleep(0.15)
        text += (await client.outcome()).outcome.token_ids
        await client.commit(len(text), owner)


BAD_GRANTS = {
    "an id past the vocabulary": ({"token_ids": [1, 8]}, "below 8"),
    "an end token past the vocabulary": ({"decode": decoding("mtad", eos_token_ids=(0, 8))}, "eos_token_ids has id 8"),
    "no text": ({"token_ids": []}, "token_ids"),
    "no drafter for the method": ({"decode": decoding("mtjd")}, "mtjd"),
    "an unknown method": ({"decode": decoding("magic")}, "magic"),
    "a text that may outgrow the model": ({"decode": decoding("mtad", max_position=201)}, "201"),
    "a bad session id": ({"session_id": "a b"}, "session_id"),
    "a negative lease": ({"lease_seconds": -1.0}, "lease_seconds"),
}


@pytest.mark.parametrize("case", BAD_GRANTS)
async def test_a_bad_grant_is_refused_and_no_neighbour_notices(verify: Running, client: LeaseClient, case: str) -> None:
    values, expected = BAD_GRANTS[case]
    await client.grant(verify.address)
    await client.outcome()
    await client.grant(verify.address, **{"session_id": "bad", **values})  # type: ignore[arg-type]
    refusal = (await client.ended()).refusal
    assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert expected in refusal.message
    await client.commit(60)
    assert (await client.outcome()).name.session_id == "s"


async def test_a_bad_address_is_refused(client: LeaseClient) -> None:
    for address in ("", "nowhere", "host:0", "host:99999", "unix:/tmp/x", "x" * 600 + ":1"):
        await client.grant(address)
        assert (await client.ended()).refusal.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_the_deadline_of_a_request_ends_its_lease_and_its_sequence(verify: Running, client: LeaseClient) -> None:
    await client.grant(verify.address, timeout_seconds=0.2)
    ended = await client.ended()  # nothing is committed, so that the text cannot have ended before
    assert ended.refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert not ended.verify_failed
    await until(lambda: verify.metric("num_requests_running") == 0)


async def test_more_leases_than_are_taken_are_refused_for_now(verify: Running) -> None:
    async with draft_replica(Limits(max_leases=1)) as drafts, leasing(drafts) as client:
        await client.grant(verify.address)
        await client.outcome()
        await client.grant(verify.address, session_id="t")
        refusal = (await client.ended()).refusal
        assert refusal.session_id == "t"
        assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert refusal.retry_after_seconds > 0


async def test_draining_ends_leases_after_their_round_and_refuses_new_ones(verify: Running) -> None:
    async with draft_replica() as drafts, leasing(drafts) as client:
        await client.grant(verify.address)
        first = await client.outcome()
        stopped = drafts.begin_to_stop()
        text = [*PROMPT, *first.outcome.token_ids]
        while (response := await client.read()).WhichOneof("body") == "outcome":
            text += response.outcome.outcome.token_ids
        assert (response.ended.refusal.code, response.ended.verify_failed) == (UNAVAILABLE, False)
        assert text == text_in_one_process(MTAD)[: len(text)]
        assert await asyncio.wait_for(client.call.code(), PATIENCE) is grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(stopped, 5)
