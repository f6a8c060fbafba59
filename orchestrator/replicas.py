"""The two kinds of replica, as the orchestrator speaks with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio

from orchestrator.leases import Judged, Lease, LeaseOver, Work
from orchestrator.links import Link
from tandem.decoding.values import Fence, TextScores
from tandem.errors import InvalidArgument, Unavailable
from tandem.pem_files import PemFiles
from tandem.rpc import codec
from tandem.rpc.channel import open_channel
from tandem.rpc.log_probs_codec import decode_scores
from tandem.rpc.status import error_of, error_of_refusal
from tandem.tokenization import Tokenizer
from tandem.v1 import draft_pb2, draft_pb2_grpc, types_pb2, verify_pb2, verify_pb2_grpc

DESCRIBE_SECONDS = 5.0


class DraftLink(Link):
    """A draft replica, which runs rounds against a verify replica and reports their outcomes."""

    role = "draft"

    def grant(
        self,
        work: Work,
        verify_address: str,
        lease_seconds: float,
        round_timeout_seconds: float,
        timeout_seconds: float,
    ) -> Lease:
        """Leases a session's rounds to this replica. ``timeout_seconds`` is the request's deadline; 0 is none.

        Raises:
            Unavailable: it is not accepted now.
        """
        grant = draft_pb2.GrantLease(
            session_id=work.session_id,
            fence=codec.encode_fence(work.fence),
            decoding=codec.encode_decoding(work.decoding),
            token_ids=work.token_ids,
            verify_address=verify_address,
            lease_seconds=lease_seconds,
            round_timeout_seconds=round_timeout_seconds,
            timeout_seconds=timeout_seconds,
        )
        return self._begin(work, draft_pb2.LeaseRequest(grant=grant))

    async def _describe(self, channel: grpc.aio.Channel) -> types_pb2.DescribeResponse:
        stub: Any = draft_pb2_grpc.DraftServiceStub(channel)  # type: ignore[no-untyped-call]
        answer: types_pb2.DescribeResponse = await stub.Describe(types_pb2.DescribeRequest(), timeout=DESCRIBE_SECONDS)
        return answer

    def _open(self, channel: grpc.aio.Channel) -> Any:
        return draft_pb2_grpc.DraftServiceStub(channel).Lease()  # type: ignore[no-untyped-call]

    def _receive(self, response: draft_pb2.LeaseResponse) -> None:
        match response.WhichOneof("body"):
            case "outcome":
                name = codec.decode_round_name(response.outcome.name)
                self._deliver(name.session_id, Judged(name, codec.decode_outcome(response.outcome.outcome)))
            case "ended":
                refusal = response.ended.refusal
                over = LeaseOver(error_of_refusal(refusal), refusal.highest_epoch, response.ended.verify_failed)
                self._deliver(refusal.session_id, over)
            case _:
                raise InvalidArgument("a lease response has no body")

    def _committed(self, watermark: types_pb2.CommitWatermark) -> Any:
        return draft_pb2.LeaseRequest(committed=watermark)

    def _released(self, session_id: str, fence: Fence) -> Any:
        release = draft_pb2.ReleaseLease(session_id=session_id, fence=codec.encode_fence(fence))
        return draft_pb2.LeaseRequest(release=release)


class VerifyLink(Link):
    """A verify replica, decoding alone."""

    role = "verify"

    def __init__(
        self, address: str, tokenizer: Tokenizer, on_change: Callable[[], None], tls: PemFiles | None = None
    ) -> None:
        super().__init__(address, tokenizer, on_change, tls)
        self.num_scores = 0
        """Texts that it is scoring for this orchestrator."""
        self._scoring: grpc.aio.Channel | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing of this orchestrator's is under way there."""
        return super().is_idle and not self.num_scores

    async def close(self) -> None:
        """Ends the stream, every lease on it, and the calls under way."""
        await super().close()
        if self._scoring is not None:
            await self._scoring.close()

    async def score(self, token_ids: Sequence[int], num_top: int, timeout_seconds: float | None) -> TextScores:
        """Has a text of at least two tokens scored. None is no timeout.

        Raises:
            TandemError: as the replica answers; `Unavailable` where it breaks the contract.
        """
        if self._scoring is None:  # a connection of its own: megabytes of scores hold up no outcome
            self._scoring = open_channel(self.address, self._tls)
        channel = self._scoring  # held here: a channel that is replaced meanwhile is closed with its last call
        stub: Any = verify_pb2_grpc.VerifyServiceStub(channel)  # type: ignore[no-untyped-call]
        self.num_scores += 1
        try:
            request = verify_pb2.VerifyServiceScoreRequest(token_ids=token_ids, num_top_log_probs=num_top)
            answer = await stub.Score(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None
        finally:
            self.num_scores -= 1
            self._look_whether_idle()
        try:
            return await asyncio.to_thread(decode_scores, answer.scores, len(token_ids))
        except InvalidArgument as error:
            raise Unavailable(f"{self.name} broke the contract: {error}") from None

    def decode(self, work: Work, timeout_seconds: float) -> Lease:
        """Has the target decode a session alone. ``timeout_seconds`` is the request's deadline; 0 is none.

        Raises:
            Unavailable: it is not accepted now.
        """
        opening = verify_pb2.OpenSequence(
            session_id=work.session_id,
            fence=codec.encode_fence(work.fence),
            decoding=codec.encode_decoding(work.decoding),
            token_ids=work.token_ids,
            timeout_seconds=timeout_seconds,
        )
        return self._begin(work, verify_pb2.DecodeRequest(open=opening))

    async def _describe(self, channel: grpc.aio.Channel) -> types_pb2.DescribeResponse:
        stub: Any = verify_pb2_grpc.VerifyServiceStub(channel)  # type: ignore[no-untyped-call]
        answer: types_pb2.DescribeResponse = await stub.Describe(types_pb2.DescribeRequest(), timeout=DESCRIBE_SECONDS)
        return answer

    def _open(self, channel: grpc.aio.Channel) -> Any:
        self._scoring = None  # certificates may have changed since it was opened
        return verify_pb2_grpc.VerifyServiceStub(channel).Decode()  # type: ignore[no-untyped-call]

    def _receive(self, response: verify_pb2.DecodeResponse) -> None:
        match response.WhichOneof("body"):
            case "decoded":
                name = codec.decode_round_name(response.decoded.name)
                self._deliver(name.session_id, Judged(name, codec.decode_outcome(response.decoded.outcome)))
            case "refused":
                refusal = response.refused
                over = LeaseOver(error_of_refusal(refusal), refusal.highest_epoch, at_verify=True)
                self._deliver(refusal.session_id, over)
            case _:
                raise InvalidArgument("a decode response has no body")

    def _committed(self, watermark: types_pb2.CommitWatermark) -> Any:
        return verify_pb2.DecodeRequest(committed=watermark)

    def _released(self, session_id: str, fence: Fence) -> Any:
        close = verify_pb2.CloseSequence(session_id=session_id, fence=codec.encode_fence(fence))
        return verify_pb2.DecodeRequest(close=close)
