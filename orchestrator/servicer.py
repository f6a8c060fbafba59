"""GenerationService: messages to requests, events to messages; nothing is decided here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar, cast

import grpc.aio

from orchestrator.events import Committed, Event, Finished, Started
from orchestrator.scoring import Scoring
from orchestrator.session import Session
from orchestrator.sessions import GenerationRequest, Sessions
from tandem.decoding.values import TextScores
from tandem.errors import Cancelled, InvalidArgument
from tandem.generation import FinishReason, Options, Score
from tandem.rpc import codec
from tandem.rpc.deadline import deadline_of
from tandem.rpc.log_probs_codec import encode_scores, encode_top
from tandem.v1 import generation_pb2 as pb
from tandem.v1 import generation_pb2_grpc, types_pb2

MAX_TEXT_CHARACTERS = 4_194_304

_REASONS: dict[FinishReason, pb.FinishReason] = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "cancelled": pb.FINISH_REASON_CANCELLED,
}
_OPTIONAL = ("draft_length", "beam_width", "threshold", "temperature", "top_k", "top_p", "min_p", "seed", "max_tokens")

Response = TypeVar("Response", pb.GenerateResponse, pb.ResumeResponse)


class GenerationServicer(generation_pb2_grpc.GenerationServiceServicer):
    """Answers clients."""

    def __init__(self, sessions: Sessions, scoring: Scoring, describe: Callable[[], codec.Description]) -> None:
        self._sessions = sessions
        self._scoring = scoring
        self._describe = describe

    async def Describe(
        self, request: types_pb2.DescribeRequest, context: grpc.aio.ServicerContext
    ) -> types_pb2.DescribeResponse:
        """What this orchestrator serves."""
        return codec.encode_description(self._describe())

    async def Generate(self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext) -> None:
        """Starts a session and streams it."""
        arrived = time.monotonic()
        deadline = deadline_of(context, arrived)
        with await self._sessions.admission.enter(deadline=deadline):
            asked = GenerationRequest(decode_prompt(request), decode_options(request), arrived, deadline)
            await self._stream(await self._sessions.start(asked), context, pb.GenerateResponse)

    async def Resume(self, request: pb.ResumeRequest, context: grpc.aio.ServicerContext) -> None:
        """Streams the rest of a session."""
        arrived = time.monotonic()
        deadline = deadline_of(context, arrived)
        with await self._sessions.admission.enter(deadline=deadline, returning=True):
            if request.token_ids:
                codec.check_text(request.token_ids)
            session = await self._sessions.resume(
                codec.check_session_id(request.session_id),
                request.position,
                codec.check_digest(request.digest),
                request.token_ids,
                arrived=arrived,
                deadline=deadline,
            )
            await self._stream(session, context, pb.ResumeResponse)

    async def Cancel(self, request: pb.CancelRequest, context: grpc.aio.ServicerContext) -> pb.CancelResponse:
        """Ends a session."""
        await self._sessions.cancel(codec.check_session_id(request.session_id))
        return pb.CancelResponse()

    async def Delete(self, request: pb.DeleteRequest, context: grpc.aio.ServicerContext) -> pb.DeleteResponse:
        """Ends a session and forgets it."""
        await self._sessions.delete(codec.check_session_id(request.session_id))
        return pb.DeleteResponse()

    async def GetSession(
        self, request: pb.GetSessionRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetSessionResponse:
        """Tells where a session stands."""
        record = await self._sessions.find(codec.check_session_id(request.session_id))
        return pb.GetSessionResponse(
            session_id=record.session_id,
            position=record.position,
            digest=record.digest,
            epoch=record.fence.epoch,
            finished=record.ended is not None,
            reason=_REASONS[record.ended] if record.ended else pb.FINISH_REASON_UNSPECIFIED,
            decoding=codec.encode_decoding(record.setup.decoding),
            kv_references=[
                pb.KvReference(
                    role=reference.role, address=reference.address, position=reference.position, epoch=reference.epoch
                )
                for reference in record.kv_references
            ],
        )

    async def Score(self, request: pb.ScoreRequest, context: grpc.aio.ServicerContext) -> pb.ScoreResponse:
        """Tells how probable a text is."""
        deadline = deadline_of(context, time.monotonic())
        score = await self._scoring.score(decode_prompt(request), request.num_top_log_probs, deadline)
        # Up to millions of numbers: written where no stream waits for it.
        return await asyncio.to_thread(_encode_score, score)

    async def _stream(self, session: Session, context: grpc.aio.ServicerContext, response: type[Response]) -> None:
        with self._sessions.readers.reader() as reader:
            async with self._sessions.follow(session) as events:
                async for event in events:
                    try:
                        await reader.write(context.write(encode_event(event, response)))
                    except grpc.aio.InternalError:  # a write that was waiting when the connection ended
                        raise Cancelled("the client left") from None


def decode_prompt(request: pb.GenerateRequest | pb.ScoreRequest) -> str | tuple[int, ...]:
    """The prompt of a request.

    Raises:
        InvalidArgument: there is none, or it is too long.
    """
    match request.WhichOneof("prompt"):
        case "text":
            length = len(request.text)
            if not 1 <= length <= MAX_TEXT_CHARACTERS:
                raise InvalidArgument(f"the prompt has {length} characters; expected 1 to {MAX_TEXT_CHARACTERS}")
            return request.text
        case "token_ids":
            return tuple(codec.check_text(request.token_ids.ids, "the prompt"))
        case _:
            raise InvalidArgument("the request has no prompt; expected text or token_ids")


def decode_options(request: pb.GenerateRequest) -> Options:
    """The options of a request.

    Raises:
        InvalidArgument: a name is too long.
    """
    if len(request.method) > 64:
        raise InvalidArgument(f"method has {len(request.method)} characters; at most 64 are accepted")
    given = {name: getattr(request, name) for name in _OPTIONAL if request.HasField(name)}
    always: Options = {
        "method": request.method,
        "stop": tuple(request.stop),
        "ignore_eos": request.ignore_eos,
        "trace": request.trace,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "logit_bias": _decode_bias(request),
        "num_top_log_probs": request.num_top_log_probs,
        "cache_salt": request.cache_salt,
    }
    if request.HasField("constraint"):
        constraint = codec.decode_constraint(request.constraint)
        given[constraint.kind] = constraint.source
    return cast(Options, always | given)


def _decode_bias(request: pb.GenerateRequest) -> dict[int, float]:
    entries = codec.decode_logit_bias(request.logit_bias)
    biases = dict(entries)
    if len(biases) != len(entries):
        raise InvalidArgument("logit_bias names a token twice; expected one bias each")
    return biases


def encode_event(event: Event, response: type[Response]) -> Response:
    """An event as the stream's message."""
    match event:
        case Committed():
            return response(part=_encode_part(event))
        case Started():
            return response(
                started=pb.SessionStarted(
                    session_id=event.session_id,
                    prompt_token_ids=event.prompt_token_ids,
                    decoding=codec.encode_decoding(event.decoding),
                )
            )
        case Finished():
            return response(finished=_encode_finished(event))


def _encode_part(event: Committed) -> pb.TextPart:
    part = pb.TextPart(
        position=event.position,
        digest=event.digest,
        token_ids=event.token_ids,
        text=event.text,
        log_probs=event.log_probs,
        top_log_probs=encode_top(event.top_log_probs),
    )
    if event.traced is not None:
        traced = part.rounds.add(position=event.position, outcome=codec.encode_outcome(event.traced))
        traced.outcome.timings.emit_seconds = time.monotonic() - event.committed_at
    return part


def _encode_score(score: Score) -> pb.ScoreResponse:
    scores = TextScores(score.log_probs, score.ranks, score.top_log_probs)
    return pb.ScoreResponse(token_ids=score.token_ids, scores=encode_scores(scores))


def _encode_finished(event: Finished) -> pb.SessionFinished:
    usage = event.usage
    return pb.SessionFinished(
        reason=_REASONS[event.reason],
        stop=event.stop,
        usage=pb.Usage(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            method=usage.method,
            mean_acceptance_length=usage.mean_acceptance_length,
            draft_acceptance_rate=usage.draft_acceptance_rate,
            acceptance_histogram=usage.acceptance_histogram,
            num_spec_steps=usage.num_spec_steps,
            num_accepted_draft_tokens=usage.num_accepted_draft_tokens,
            num_draft_tokens=usage.num_draft_tokens,
            num_target_passes=usage.num_target_passes,
            output_perplexity=usage.output_perplexity,
            time_to_first_token_seconds=usage.time_to_first_token_seconds,
            time_per_output_token_seconds=usage.time_per_output_token_seconds,
            output_negative_log_likelihood=usage.output_negative_log_likelihood,
            draft_joules=usage.draft_joules,
            verify_joules=usage.verify_joules,
        ),
    )
