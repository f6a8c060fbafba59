"""The gRPC face of the draft service: decode, hand to the model thread, encode what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import grpc.aio

from draft_service.events import Ended, Event, LeaseAnswer, LeaseStream, Over, StreamOver
from draft_service.wire import read_lease, session_of, write_lease
from tandem.engine.hosting import HostedModel
from tandem.errors import TandemError, Unavailable
from tandem.model_thread import ModelThread
from tandem.rpc.codec import Description, encode_description
from tandem.rpc.streams import Outbox, exchange, paced
from tandem.v1 import draft_pb2, draft_pb2_grpc, types_pb2

DRAINING = "this draft replica is draining; place the session on another one"


class DraftServicer(draft_pb2_grpc.DraftServiceServicer):
    """Serves `DraftService`. Lives on the event loop; the model thread's answers arrive at `deliver`."""

    def __init__(self, thread: ModelThread[Event], describe: Callable[[], Description]) -> None:
        self._thread = thread
        self._describe = describe
        self._outboxes: dict[LeaseStream, Outbox[draft_pb2.LeaseResponse]] = {}
        self._hosted: HostedModel | None = None
        self._draining = False

    def begin(self, hosted: HostedModel) -> None:
        """Takes work from now on."""
        self._hosted = hosted

    def refuse_new(self) -> None:
        """Takes no new streams from now on; new grants are refused by the model thread."""
        self._draining = True

    def end_streams(self) -> None:
        """Ends every stream, once what waits is written."""
        for outbox in self._outboxes.values():
            outbox.end(Unavailable(DRAINING))

    def deliver(self, stream: LeaseStream, answer: LeaseAnswer) -> None:
        """Sends an answer to its stream; that of a stream that is gone is dropped."""
        outbox = self._outboxes.get(stream)
        if outbox is None:
            return
        if isinstance(answer, Over):
            outbox.end()
        else:
            outbox.put(write_lease(answer))

    async def Describe(
        self, request: types_pb2.DescribeRequest, context: grpc.aio.ServicerContext
    ) -> types_pb2.DescribeResponse:
        """What this replica is."""
        return encode_description(self._describe())

    async def Lease(
        self, request_iterator: AsyncIterator[draft_pb2.LeaseRequest], context: grpc.aio.ServicerContext
    ) -> None:
        """Runs the sessions that one orchestrator leases to this replica."""
        hosted = self._hosted
        if hosted is None:
            raise Unavailable("this draft replica is still loading its model")
        if self._draining:
            raise Unavailable(DRAINING)
        stream = LeaseStream()
        outbox: Outbox[draft_pb2.LeaseResponse] = Outbox()
        self._outboxes[stream] = outbox

        def accept(request: draft_pb2.LeaseRequest) -> None:
            session_id = session_of(request)
            try:
                event = read_lease(request, stream, hosted)
            except TandemError as error:
                self.deliver(stream, Ended(session_id, error))
            else:
                self._thread.post(event)

        try:
            await exchange(
                paced(request_iterator, lambda: self._thread.backlog),
                context.write,
                outbox,
                accept,
                lambda: self._thread.post(StreamOver(stream)),
            )
        finally:
            del self._outboxes[stream]
