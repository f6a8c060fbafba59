"""The draft service's messages, on both of its sides, to events and back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from draft_service.events import (
    AskVerdict,
    CloseAtVerify,
    Committed,
    Ended,
    Event,
    ExtendAtVerify,
    Grant,
    Judged,
    LeaseAnswer,
    LeaseStream,
    Missed,
    OpenAtVerify,
    Release,
    RoundDone,
    VerifyRefused,
    VerifyRequest,
)
from tandem.engine.hosting import HostedModel
from tandem.errors import InvalidArgument
from tandem.rpc.channel import check_address
from tandem.rpc.codec import (
    check_decoding_ids,
    check_seconds,
    check_session_id,
    check_text,
    check_token_ids,
    decode_decoding,
    decode_fence,
    decode_outcome,
    decode_round_name,
    encode_decoding,
    encode_fence,
    encode_outcome,
    encode_proposal,
    encode_round_name,
)
from tandem.rpc.status import error_of_refusal, refusal_of
from tandem.v1 import draft_pb2, verify_pb2


def session_of(request: draft_pb2.LeaseRequest) -> str:
    """The session that a message is about, whatever else is wrong with it.

    Raises:
        InvalidArgument: the message has no body, so that it is about none.
    """
    body = request.WhichOneof("body")
    if body is None:
        raise InvalidArgument("a message has no body; it may come from a newer version of the contract")
    session_id: str = getattr(request, body).session_id
    return session_id[:128]


def read_lease(request: draft_pb2.LeaseRequest, stream: LeaseStream, hosted: HostedModel) -> Event:
    """One message of an orchestrator as an event.

    Raises:
        InvalidArgument: a bound is broken, or an id is not the model's.
    """
    body = request.WhichOneof("body")
    if body == "committed":
        committed = request.committed
        return Committed(check_session_id(committed.session_id), decode_fence(committed.fence), committed.position)
    if body == "release":
        return Release(check_session_id(request.release.session_id), decode_fence(request.release.fence))
    grant = request.grant
    tokens = check_text(grant.token_ids)
    check_token_ids(tokens, hosted.vocab_size)
    decoding = decode_decoding(grant.decoding)
    check_decoding_ids(decoding, hosted.vocab_size)
    longest = max(len(tokens), decoding.max_position)
    if longest > hosted.max_positions:
        raise InvalidArgument(
            f"the text may grow to {longest} tokens; the draft model holds texts of up to {hosted.max_positions}"
        )
    return Grant(
        stream=stream,
        session_id=check_session_id(grant.session_id),
        fence=decode_fence(grant.fence),
        decoding=decoding,
        token_ids=tokens,
        verify_address=check_address(grant.verify_address),
        lease_seconds=check_seconds(grant.lease_seconds, "lease_seconds"),
        round_timeout_seconds=check_seconds(grant.round_timeout_seconds, "round_timeout_seconds"),
        deadline=_deadline(grant.timeout_seconds),
    )


def write_lease(answer: LeaseAnswer) -> draft_pb2.LeaseResponse:
    """An answer to an orchestrator as a message."""
    if isinstance(answer, RoundDone):
        return draft_pb2.LeaseResponse(
            outcome=draft_pb2.RoundOutcome(name=encode_round_name(answer.name), outcome=encode_outcome(answer.outcome))
        )
    assert isinstance(answer, Ended), answer
    refusal = refusal_of(answer.session_id, answer.error, answer.highest_epoch)
    return draft_pb2.LeaseResponse(ended=draft_pb2.LeaseEnded(refusal=refusal, verify_failed=answer.verify_failed))


def read_judged(response: verify_pb2.JudgeResponse, address: str) -> Event | None:
    """One message of a verify replica as an event; None for what calls for nothing.

    Raises:
        InvalidArgument: a bound is broken.
    """
    body = response.WhichOneof("body")
    if body == "verdict":
        return Judged(decode_round_name(response.verdict.name), decode_outcome(response.verdict.outcome))
    if body == "kv_miss":
        miss = response.kv_miss
        return Missed(decode_round_name(miss.name), miss.have_position, miss.have_digest)
    if body == "refused":
        refused = response.refused
        return VerifyRefused(address, refused.session_id, error_of_refusal(refused), refused.highest_epoch)
    # `opened` is implied by the first verdict, and nothing is sent ahead that could be `dropped`.
    return None


def write_judge(request: VerifyRequest) -> verify_pb2.JudgeRequest:
    """A request to a verify replica as a message."""
    return _WRITERS[type(request)](request)


def _deadline(timeout_seconds: float) -> float:
    seconds = check_seconds(timeout_seconds, "timeout_seconds")
    return time.monotonic() + seconds if seconds else math.inf


def _ask(request: AskVerdict) -> verify_pb2.JudgeRequest:
    return verify_pb2.JudgeRequest(
        round=verify_pb2.JudgeRound(
            name=encode_round_name(request.name),
            proposal=encode_proposal(request.proposal),
            committed_position=request.committed_position,
            timeout_seconds=request.timeout_seconds,
        )
    )


def _open(request: OpenAtVerify) -> verify_pb2.JudgeRequest:
    return verify_pb2.JudgeRequest(
        open=verify_pb2.OpenSequence(
            session_id=request.session_id,
            fence=encode_fence(request.fence),
            decoding=encode_decoding(request.decoding),
            token_ids=request.token_ids,
            timeout_seconds=request.timeout_seconds,
        )
    )


def _extend(request: ExtendAtVerify) -> verify_pb2.JudgeRequest:
    return verify_pb2.JudgeRequest(
        extend=verify_pb2.ExtendSequence(
            session_id=request.session_id,
            fence=encode_fence(request.fence),
            from_position=request.from_position,
            token_ids=request.token_ids,
        )
    )


def _close(request: CloseAtVerify) -> verify_pb2.JudgeRequest:
    return verify_pb2.JudgeRequest(
        close=verify_pb2.CloseSequence(session_id=request.session_id, fence=encode_fence(request.fence))
    )


_WRITERS: dict[type, Callable[[Any], verify_pb2.JudgeRequest]] = {
    AskVerdict: _ask,
    OpenAtVerify: _open,
    ExtendAtVerify: _extend,
    CloseAtVerify: _close,
}
