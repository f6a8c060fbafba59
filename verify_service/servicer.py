"""The gRPC face of the verify service: decode, hand to the model thread, encode what comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc.aio

from tandem.decoding.values import TextScores
from tandem.engine.hosting import HostedModel
from tandem.errors import TandemError, Unavailable
from tandem.model_thread import ModelThread
from tandem.rpc.codec import Description, encode_description
from tandem.rpc.deadline import deadline_of
from tandem.rpc.streams import Outbox, exchange, paced
from tandem.v1 import types_pb2, verify_pb2, verify_pb2_grpc
from verify_service.events import (
    Event,
    LeaveScore,
    NotScored,
    Open,
    Over,
    Refused,
    Said,
    Scored,
    Stream,
    StreamOver,
    Ticket,
)
from verify_service.wire import (
    read_decode,
    read_judge,
    read_score,
    session_of,
    write_decode,
    write_judge,
    write_scores,
)

DRAINING = "this verify replica is draining; place the session on another one"


class VerifyServicer(verify_pb2_grpc.VerifyServiceServicer):
    """Serves `VerifyService`. Lives on the event loop; the model thread's answers arrive at `deliver`."""

    def __init__(self, thread: ModelThread[Event], describe: Callable[[], Description]) -> None:
        self._thread = thread
        self._describe = describe
        self._outboxes: dict[Stream, Outbox[Any]] = {}
        self._scoring: dict[Ticket, asyncio.Future[TextScores]] = {}
        self._hosted: HostedModel | None = None
        self._draining = False

    def begin(self, hosted: HostedModel) -> None:
        """Takes work from now on."""
        self._hosted = hosted

    def refuse_new(self) -> None:
        """Takes no new sessions and streams from now on."""
        self._draining = True

    def end_streams(self) -> None:
        """Ends every stream, once what waits is written."""
        for outbox in self._outboxes.values():
            outbox.end(Unavailable(DRAINING))

    def deliver(self, items: Sequence[Said]) -> None:
        """Sends the model thread's answers to their streams and calls; those of such as are gone are dropped."""
        for item in items:
            if isinstance(item, Scored | NotScored):
                self._answer_score(item)
            if not isinstance(item, tuple):
                continue
            stream, answer = item
            outbox = self._outboxes.get(stream) if stream is not None else None
            if outbox is None or stream is None:
                continue
            if isinstance(answer, Over):
                outbox.end()
            else:
                outbox.put(write_decode(answer) if stream.decodes else write_judge(answer))

    async def Describe(
        self, request: types_pb2.DescribeRequest, context: grpc.aio.ServicerContext
    ) -> types_pb2.DescribeResponse:
        """What this replica is."""
        return encode_description(self._describe())

    async def Judge(
        self, request_iterator: AsyncIterator[verify_pb2.JudgeRequest], context: grpc.aio.ServicerContext
    ) -> None:
        """Judges the rounds of one drafter's sessions."""
        await self._serve(request_iterator, context, Stream(decodes=False), read_judge)

    async def Decode(
        self, request_iterator: AsyncIterator[verify_pb2.DecodeRequest], context: grpc.aio.ServicerContext
    ) -> None:
        """Decodes one orchestrator's sessions with the target alone."""
        await self._serve(request_iterator, context, Stream(decodes=True), read_decode)

    async def Score(
        self, request: verify_pb2.VerifyServiceScoreRequest, context: grpc.aio.ServicerContext
    ) -> verify_pb2.VerifyServiceScoreResponse:
        """Scores a given text."""
        asked = read_score(request, self._serving(), deadline_of(context, time.monotonic()))
        if len(asked.token_ids) == 1:  # nothing stands before it
            return write_scores(TextScores((), ()))
        answer: asyncio.Future[TextScores] = asyncio.get_running_loop().create_future()
        self._scoring[asked.ticket] = answer
        self._thread.post(asked)
        try:
            scores = await answer
        finally:
            del self._scoring[asked.ticket]
            if answer.cancelled():  # whoever called has gone, or its deadline has passed
                self._thread.post(LeaveScore(asked.ticket))
        # Up to millions of numbers: written where no round waits for it.
        return await asyncio.to_thread(write_scores, scores)

    def _answer_score(self, said: Scored | NotScored) -> None:
        answer = self._scoring.get(said.ticket)
        if answer is None or answer.done():
            return
        if isinstance(said, Scored):
            answer.set_result(said.scores)
        else:
            answer.set_exception(said.error)

    def _serving(self) -> HostedModel:
        if self._hosted is None:
            raise Unavailable("this verify replica is still loading its model")
        if self._draining:
            raise Unavailable(DRAINING)
        return self._hosted

    async def _serve(
        self,
        requests: AsyncIterator[Any],
        context: grpc.aio.ServicerContext,
        stream: Stream,
        read: Callable[[Any, Stream, HostedModel], Event],
    ) -> None:
        hosted = self._serving()
        outbox: Outbox[Any] = Outbox()
        self._outboxes[stream] = outbox

        def accept(request: Any) -> None:
            session_id = session_of(request)
            try:
                event = read(request, stream, hosted)
                if self._draining and isinstance(event, Open):
                    raise Unavailable(DRAINING)
            except TandemError as error:
                self.deliver([(stream, Refused(session_id, error))])
            else:
                self._thread.post(event)

        try:
            await exchange(
                paced(requests, lambda: self._thread.backlog),
                context.write,
                outbox,
                accept,
                lambda: self._thread.post(StreamOver(stream)),
            )
        finally:
            del self._outboxes[stream]
