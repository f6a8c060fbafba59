"""The target alone: its own text, a bounded way ahead of what is committed, and shown again to an heir."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import numpy as np
import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Fence, RunningDigest
from tandem.rpc.codec import encode_decoding, encode_fence
from tandem.v1 import types_pb2, verify_pb2, verify_pb2_grpc
from tests.support.judging import draft, judging
from tests.support.model_services import PATIENCE, PROMPT, TARGET, Running, decoding, fence, text_alone, verify_replica

ALONE = decoding("autoregressive")


class DecodeClient:
    """One Decode stream."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self.call = call

    async def open(
        self, token_ids: Sequence[int], decode: Decoding, owner: Fence | None = None, session_id: str = "s"
    ) -> None:
        opened = verify_pb2.OpenSequence(
            session_id=session_id,
            fence=encode_fence(owner or fence()),
            decoding=encode_decoding(decode),
            token_ids=token_ids,
        )
        await self.call.write(verify_pb2.DecodeRequest(open=opened))

    async def commit(self, position: int, owner: Fence | None = None, session_id: str = "s") -> None:
        committed = types_pb2.CommitWatermark(
            session_id=session_id, fence=encode_fence(owner or fence()), position=position
        )
        await self.call.write(verify_pb2.DecodeRequest(committed=committed))

    async def close(self, session_id: str = "s") -> None:
        closed = verify_pb2.CloseSequence(session_id=session_id, fence=encode_fence(fence()))
        await self.call.write(verify_pb2.DecodeRequest(close=closed))

    async def read(self) -> verify_pb2.DecodeResponse:
        response = await asyncio.wait_for(self.call.read(), PATIENCE)
        assert isinstance(response, verify_pb2.DecodeResponse), f"the stream ended: {await self.call.code()}"
        return response

    async def decoded(self) -> verify_pb2.DecodedRound:
        response = await self.read()
        assert response.WhichOneof("body") == "decoded", response
        return response.decoded

    async def text(self, prompt: Sequence[int], until: int, owner: Fence | None = None) -> list[int]:
        """Commits whatever comes, until the text is ``until`` tokens long; checks that every round fits."""
        text = list(prompt)
        while len(text) < until:
            decoded = await self.decoded()
            assert decoded.name.position == len(text)
            assert decoded.name.digest == RunningDigest(text).value
            text += decoded.outcome.token_ids
            assert decoded.outcome.next_digest == RunningDigest(text).value
            await self.commit(len(text), owner)
        return text


@asynccontextmanager
async def decoding_alone(replica: Running) -> AsyncIterator[DecodeClient]:
    async with await replica.channel() as channel:
        call = verify_pb2_grpc.VerifyServiceStub(channel).Decode()  # type: ignore[no-untyped-call]
        try:
            yield DecodeClient(call)
        finally:
            call.cancel()


@pytest.fixture
async def replica() -> AsyncIterator[Running]:
    async with verify_replica() as running:
        yield running


@pytest.fixture
async def client(replica: Running) -> AsyncIterator[DecodeClient]:
    async with decoding_alone(replica) as client:
        yield client


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_decodes_without_a_drafter(client: DecodeClient, method: str) -> None:
    decode = decoding(method)
    await client.open(PROMPT, decode)
    text = await client.text(PROMPT, decode.max_position)
    assert text[len(PROMPT) :] == text_alone(decode)


async def test_an_end_token_ends_the_text(client: DecodeClient) -> None:
    decode = next(
        decode
        for seed in range(50)
        if 3 < len(text_alone(decode := decoding("autoregressive", seed, ignore_eos=False))) < 30
    )
    expected = text_alone(decode)
    assert expected[-1] == 0
    await client.open(PROMPT, decode)
    assert (await client.text(PROMPT, len(PROMPT) + len(expected)))[len(PROMPT) :] == expected
    await client.open(PROMPT, ALONE, session_id="sentinel")
    assert (await client.decoded()).name.session_id == "sentinel"


async def test_it_runs_no_further_ahead_than_two_outcomes_and_a_gathering(client: DecodeClient) -> None:
    await client.open(PROMPT, ALONE)
    first, second = await client.decoded(), await client.decoded()
    assert second.name.position == len(PROMPT) + len(first.outcome.token_ids)
    end = second.name.position + len(second.outcome.token_ids)
    await asyncio.sleep(0.1)  # long enough for a table to decode to its end, were it let
    await client.commit(second.name.position)
    third = await client.decoded()
    assert third.name.position == end
    assert 1 < len(third.outcome.token_ids) <= 16
    text = [*PROMPT, *first.outcome.token_ids, *second.outcome.token_ids, *third.outcome.token_ids]
    assert text[len(PROMPT) :] == text_alone(ALONE)[: len(text) - len(PROMPT)]
    assert third.outcome.num_target_passes == len(third.outcome.token_ids)
    assert len(third.outcome.log_probs) == len(third.outcome.token_ids)


async def test_traced_blocks_are_not_merged(client: DecodeClient) -> None:
    decode = decoding("mtjd", trace=True)
    await client.open(PROMPT, decode)
    text = list(PROMPT)
    while len(text) < decode.max_position:
        decoded = await client.decoded()
        assert 1 <= len(decoded.outcome.token_ids) <= decode.speculation.draft_length
        assert list(decoded.outcome.trace.token_ids) == list(decoded.outcome.token_ids)
        text += decoded.outcome.token_ids
        await client.commit(len(text))
    assert text[len(PROMPT) :] == text_alone(decode)


async def test_lost_rounds_are_shown_again_to_an_heir(replica: Running) -> None:
    async with decoding_alone(replica) as lost:
        await lost.open(PROMPT, ALONE)
        shown = [await lost.decoded(), await lost.decoded()]
    async with decoding_alone(replica) as heir:
        owner = fence(2, "b")
        await heir.open(PROMPT, ALONE, owner)
        again = [await heir.decoded(), await heir.decoded()]
        assert [round_.outcome for round_ in again] == [round_.outcome for round_ in shown]
        text = [*PROMPT, *(token for round_ in again for token in round_.outcome.token_ids)]
        await heir.commit(len(text), owner)
        text = await heir.text(text, ALONE.max_position, owner)
        assert text[len(PROMPT) :] == text_alone(ALONE)


async def test_a_drafter_takes_over_from_the_target_and_gives_back(replica: Running) -> None:
    """With coupled draws the text does not tell who made which part of it."""
    decode = decoding("coupled")
    expected = text_alone(ALONE)
    async with decoding_alone(replica) as alone, judging(replica) as drafter, decoding_alone(replica) as again:
        await alone.open(PROMPT, decode)
        text = await alone.text(PROMPT, 12)
        owner = fence(2, "b")
        await drafter.open(text, decode, owner)
        await drafter.opened()
        while len(text) < 25:
            await drafter.ask(text, draft(text, decode), owner)
            text += (await drafter.verdict()).outcome.token_ids
        owner = fence(3, "c")
        await again.open(text, decode, owner)
        text = await again.text(text, decode.max_position, owner)
    assert text[len(PROMPT) : decode.max_position] == expected[: decode.max_position - len(PROMPT)]


async def test_a_closed_session_is_decoded_no_further(client: DecodeClient) -> None:
    await client.open(PROMPT, ALONE)
    await client.decoded()
    await client.close()
    await client.commit(ALONE.max_position)
    await client.open(PROMPT, ALONE, session_id="sentinel")
    late = 0
    while (await client.decoded()).name.session_id != "sentinel":
        late += 1
    assert late <= 1  # one was on its way


async def test_bad_input_is_refused_and_others_decode_on(client: DecodeClient) -> None:
    await client.open([99], ALONE, session_id="bad")
    refused = (await client.read()).refused
    assert (refused.session_id, refused.code) == ("bad", grpc.StatusCode.INVALID_ARGUMENT.value[0])
    await client.open(PROMPT, ALONE)
    assert (await client.text(PROMPT, 20))[len(PROMPT) : 20] == text_alone(ALONE)[: 20 - len(PROMPT)]


@pytest.mark.parametrize("method", ["autoregressive", "mtjd", "mtad"])
@pytest.mark.parametrize("trace", [False, True])
async def test_the_most_probable_tokens_come_with_each_token_gathered_or_traced(
    client: DecodeClient, method: str, trace: bool
) -> None:
    decode = decoding(method, max_position=40, num_top_log_probs=2, trace=trace)
    await client.open(PROMPT, decode)
    text, tops = list(PROMPT), list[types_pb2.TopLogProbs]()
    while len(text) < 40:
        outcome = (await client.decoded()).outcome
        text += outcome.token_ids
        tops += outcome.top_log_probs
        await client.commit(len(text))
    assert len(tops) == len(text) - len(PROMPT)
    for place, top in enumerate(tops, len(PROMPT)):
        logits = TARGET[text[place - 2], text[place - 1]]
        best = np.argsort(-logits, kind="stable")[:2]
        assert list(top.token_ids) == best.tolist()
        assert list(top.log_probs) == pytest.approx((logits[best] - np.logaddexp.reduce(logits)).tolist())
