"""A client of the verify service, as plain as the messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from tandem.decoding.values import Decoding, Fence, Proposal, RoundName, RunningDigest
from tandem.engine.proposer import Proposer
from tandem.errors import TandemError
from tandem.rpc.codec import encode_decoding, encode_fence, encode_proposal, encode_round_name
from tandem.v1 import types_pb2, verify_pb2, verify_pb2_grpc
from tests.support.model_services import DRAFT, PATIENCE, Running, fence
from tests.support.tabular import TabularModel


def draft(token_ids: Sequence[int], decode: Decoding) -> Proposal:
    """What the draft table proposes after a text."""
    proposer = Proposer(TabularModel(DRAFT))
    [proposal] = proposer.propose([proposer.open(token_ids, decode)])
    assert not isinstance(proposal, TandemError)
    return proposal


def name_of(token_ids: Sequence[int], owner: Fence | None = None, session_id: str = "s") -> RoundName:
    """The name of the round that extends a text."""
    return RoundName(session_id, owner or fence(), len(token_ids), RunningDigest(token_ids).value)


class JudgeClient:
    """One Judge stream."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self.call = call

    async def send(self, **body: object) -> None:
        await self.call.write(verify_pb2.JudgeRequest(**body))  # type: ignore[arg-type]

    async def open(
        self,
        token_ids: Sequence[int],
        decode: Decoding,
        owner: Fence | None = None,
        session_id: str = "s",
        timeout_seconds: float = 0.0,
    ) -> None:
        message = verify_pb2.OpenSequence(
            session_id=session_id,
            fence=encode_fence(owner or fence()),
            decoding=encode_decoding(decode),
            token_ids=token_ids,
            timeout_seconds=timeout_seconds,
        )
        await self.send(open=message)

    async def ask(
        self,
        token_ids: Sequence[int],
        proposal: Proposal,
        owner: Fence | None = None,
        session_id: str = "s",
        *,
        sent_ahead: bool = False,
        committed: int | None = None,
        timeout_seconds: float = 0.0,
    ) -> None:
        """Sends a round; unless said otherwise, its text is committed."""
        message = verify_pb2.JudgeRound(
            name=encode_round_name(name_of(token_ids, owner, session_id)),
            proposal=encode_proposal(proposal),
            sent_ahead=sent_ahead,
            committed_position=len(token_ids) if committed is None else committed,
            timeout_seconds=timeout_seconds,
        )
        await self.send(round=message)

    async def commit(self, position: int, owner: Fence | None = None, session_id: str = "s") -> None:
        message = types_pb2.CommitWatermark(
            session_id=session_id, fence=encode_fence(owner or fence()), position=position
        )
        await self.send(committed=message)

    async def close(self, owner: Fence | None = None, session_id: str = "s") -> None:
        message = verify_pb2.CloseSequence(session_id=session_id, fence=encode_fence(owner or fence()))
        await self.send(close=message)

    async def read(self) -> verify_pb2.JudgeResponse:
        response = await asyncio.wait_for(self.call.read(), PATIENCE)
        assert isinstance(response, verify_pb2.JudgeResponse), f"the stream ended: {await self.call.code()}"
        return response

    async def opened(self) -> verify_pb2.SequenceOpened:
        return self._body(await self.read(), "opened").opened

    async def verdict(self) -> verify_pb2.Verdict:
        return self._body(await self.read(), "verdict").verdict

    async def kv_miss(self) -> verify_pb2.KvMiss:
        return self._body(await self.read(), "kv_miss").kv_miss

    async def dropped(self) -> verify_pb2.RoundDropped:
        return self._body(await self.read(), "dropped").dropped

    async def refused(self) -> types_pb2.Refusal:
        return self._body(await self.read(), "refused").refused

    async def nothing_comes(self, sentinel_session: str, decode: Decoding) -> None:
        """Checks that all that was asked so far is answered: a session opened now is answered next."""
        await self.open([1], decode, session_id=sentinel_session)
        assert (await self.opened()).session_id == sentinel_session

    @staticmethod
    def _body(response: verify_pb2.JudgeResponse, expected: str) -> verify_pb2.JudgeResponse:
        assert response.WhichOneof("body") == expected, response
        return response


@asynccontextmanager
async def judging(replica: Running) -> AsyncIterator[JudgeClient]:
    """A Judge stream that is cut off when the block ends."""
    async with await replica.channel() as channel:
        call = verify_pb2_grpc.VerifyServiceStub(channel).Judge()  # type: ignore[no-untyped-call]
        try:
            yield JudgeClient(call)
        finally:
            call.cancel()


async def status_of(call: grpc.aio.StreamStreamCall) -> grpc.StatusCode:
    """How a stream ended."""
    code: grpc.StatusCode = await asyncio.wait_for(call.code(), PATIENCE)
    return code
