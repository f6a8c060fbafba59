"""The verify service's messages to events, and its answers to messages."""

from __future__ import annotations

import math
import time

from tandem.decoding.methods import method
from tandem.decoding.values import TextScores, check_top_entries
from tandem.engine.hosting import HostedModel
from tandem.errors import InvalidArgument
from tandem.rpc.codec import (
    check_decoding_ids,
    check_proposal_ids,
    check_seconds,
    check_session_id,
    check_text,
    check_token_ids,
    decode_decoding,
    decode_fence,
    decode_proposal,
    decode_round_name,
    encode_outcome,
    encode_round_name,
)
from tandem.rpc.log_probs_codec import encode_scores
from tandem.rpc.status import refusal_of
from tandem.v1 import types_pb2, verify_pb2
from verify_service.events import (
    Answer,
    Close,
    Committed,
    Decoded,
    Dropped,
    Event,
    Extend,
    KvMissed,
    Open,
    Opened,
    Refused,
    Round,
    Score,
    Stream,
    Ticket,
    Verdict,
)


def read_judge(request: verify_pb2.JudgeRequest, stream: Stream, hosted: HostedModel) -> Event:
    """One message of Judge as an event.

    Raises:
        InvalidArgument: a bound is broken, or an id is not the model's.
    """
    body = request.WhichOneof("body")
    if body == "round":
        return _round(request.round, stream, hosted)
    if body == "open":
        return _open(request.open, stream, hosted)
    if body == "extend":
        extend = request.extend
        tokens = check_text(extend.token_ids)
        check_token_ids(tokens, hosted.vocab_size)
        if extend.from_position < 0:
            raise InvalidArgument(f"from_position is {extend.from_position}; expected 0 or more")
        fence = decode_fence(extend.fence)
        return Extend(stream, check_session_id(extend.session_id), fence, extend.from_position, tokens)
    if body == "committed":
        return _committed(request.committed)
    return _close(request.close)


def read_decode(request: verify_pb2.DecodeRequest, stream: Stream, hosted: HostedModel) -> Event:
    """One message of Decode as an event.

    Raises:
        InvalidArgument: a bound is broken, or an id is not the model's.
    """
    body = request.WhichOneof("body")
    if body == "open":
        return _open(request.open, stream, hosted)
    if body == "committed":
        return _committed(request.committed)
    return _close(request.close)


def read_score(request: verify_pb2.VerifyServiceScoreRequest, hosted: HostedModel, deadline: float | None) -> Score:
    """A request of Score as an event.

    Raises:
        InvalidArgument: a bound is broken, or an id is not the model's.
    """
    tokens = check_text(request.token_ids)
    check_token_ids(tokens, hosted.vocab_size)
    if len(tokens) > hosted.max_positions:
        raise InvalidArgument(f"the text has {len(tokens)} tokens; the model holds {hosted.max_positions}")
    check_top_entries(len(tokens), request.num_top_log_probs)
    return Score(Ticket(), tokens, request.num_top_log_probs, math.inf if deadline is None else deadline)


def write_scores(scores: TextScores) -> verify_pb2.VerifyServiceScoreResponse:
    """Scores as the answer of Score."""
    return verify_pb2.VerifyServiceScoreResponse(scores=encode_scores(scores))


def session_of(request: verify_pb2.JudgeRequest | verify_pb2.DecodeRequest) -> str:
    """The session that a message is about, whatever else is wrong with it.

    Raises:
        InvalidArgument: the message has no body, so that it is about none.
    """
    body = request.WhichOneof("body")
    if body is None:
        raise InvalidArgument("a message has no body; it may come from a newer version of the contract")
    part = getattr(request, body)
    session_id: str = part.name.session_id if body == "round" else part.session_id
    return session_id[:128]


def write_judge(answer: Answer) -> verify_pb2.JudgeResponse:
    """An answer as a message of Judge."""
    if isinstance(answer, Verdict):
        return verify_pb2.JudgeResponse(
            verdict=verify_pb2.Verdict(
                name=encode_round_name(answer.name),
                outcome=encode_outcome(answer.outcome),
                repeated_answer=answer.repeated_answer,
                superseded=answer.superseded,
            )
        )
    if isinstance(answer, Opened):
        return verify_pb2.JudgeResponse(
            opened=verify_pb2.SequenceOpened(session_id=answer.session_id, cached_position=answer.cached_position)
        )
    if isinstance(answer, KvMissed):
        return verify_pb2.JudgeResponse(
            kv_miss=verify_pb2.KvMiss(
                name=encode_round_name(answer.name), have_position=answer.have_position, have_digest=answer.have_digest
            )
        )
    if isinstance(answer, Dropped):
        return verify_pb2.JudgeResponse(dropped=verify_pb2.RoundDropped(name=encode_round_name(answer.name)))
    return verify_pb2.JudgeResponse(refused=_refusal(answer))


def write_decode(answer: Answer) -> verify_pb2.DecodeResponse:
    """An answer as a message of Decode."""
    if isinstance(answer, Decoded):
        return verify_pb2.DecodeResponse(
            decoded=verify_pb2.DecodedRound(name=encode_round_name(answer.name), outcome=encode_outcome(answer.outcome))
        )
    return verify_pb2.DecodeResponse(refused=_refusal(answer))


def _refusal(answer: Answer) -> types_pb2.Refusal:
    assert isinstance(answer, Refused), answer
    return refusal_of(answer.session_id, answer.error, answer.highest_epoch)


def _open(message: verify_pb2.OpenSequence, stream: Stream, hosted: HostedModel) -> Open:
    session_id = check_session_id(message.session_id)
    fence = decode_fence(message.fence)
    decoding = decode_decoding(message.decoding)
    check_decoding_ids(decoding, hosted.vocab_size)
    name = decoding.speculation.method
    if method(name).target_only and not stream.decodes:
        raise InvalidArgument(f"method {name!r} is not drafted for; it runs by Decode")
    if decoding.max_position > hosted.max_positions:
        raise InvalidArgument(
            f"max_position is {decoding.max_position}; the model holds texts of up to {hosted.max_positions} tokens"
        )
    tokens = check_text(message.token_ids)
    check_token_ids(tokens, hosted.vocab_size)
    if len(tokens) > hosted.max_positions:
        raise InvalidArgument(f"the text has {len(tokens)} tokens; the model holds {hosted.max_positions}")
    return Open(stream, session_id, fence, decoding, tokens, _deadline(message.timeout_seconds))


def _round(message: verify_pb2.JudgeRound, stream: Stream, hosted: HostedModel) -> Round:
    began = time.monotonic()
    name = decode_round_name(message.name)
    proposal = decode_proposal(message.proposal)
    check_proposal_ids(proposal, hosted.vocab_size)
    deadline = _deadline(message.timeout_seconds)
    arrived = time.monotonic()
    read_seconds = arrived - began
    return Round(
        stream, name, proposal, message.sent_ahead, message.committed_position, arrived, deadline, read_seconds
    )


def _committed(message: types_pb2.CommitWatermark) -> Committed:
    return Committed(check_session_id(message.session_id), decode_fence(message.fence), message.position)


def _close(message: verify_pb2.CloseSequence) -> Close:
    return Close(check_session_id(message.session_id), decode_fence(message.fence))


def _deadline(timeout_seconds: float) -> float:
    seconds = check_seconds(timeout_seconds, "timeout_seconds")
    return time.monotonic() + seconds if seconds else math.inf
