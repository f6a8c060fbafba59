"""Links: what the orchestrator keeps open to each replica, come what may, and whom it accepts as one."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import grpc
import grpc.aio

from orchestrator.leases import Judged, Lease, LeaseOver, Work
from orchestrator.speed import Speed
from tandem.decoding.rng import DRAWING_VERSION
from tandem.decoding.values import Fence
from tandem.errors import InvalidArgument, ModelRefused, Stale, TandemError, Unavailable
from tandem.pem_files import PemFiles
from tandem.rpc import codec
from tandem.rpc.channel import open_channel
from tandem.rpc.status import error_of
from tandem.rpc.tls import hint
from tandem.telemetry import logger
from tandem.tokenization import Tokenizer
from tandem.v1 import types_pb2

DOUBT_SECONDS = 5.0
"""For how long a replica that failed one session is no other session's first choice."""

RETURN_SECONDS = 1.0
"""For how long a replica that was lost, or has not answered yet, may be back any moment: a cut connection is."""

FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.05, 1.0

State = Literal["connecting", "accepted", "refused", "down"]


class Link(ABC):
    """A connection to one replica and its one stream, kept up by a task of its own from `start` to `close`.

    Its `Pool` sets ``is_leaving``: then sessions go elsewhere, and once the stream has ended it is not opened again.

    *connecting* until first heard of; *accepted* while the stream is open and the replica fits; *refused* while it
    answers but does not fit; *down* otherwise. ``reason`` tells why not accepted.
    """

    role: Literal["draft", "verify"]

    def __init__(
        self, address: str, tokenizer: Tokenizer, on_change: Callable[[], None], tls: PemFiles | None = None
    ) -> None:
        self.address = address
        self.state: State = "connecting"
        self.reason = f"{self.role} replica {address} has not answered yet"
        self.description: codec.Description | None = None
        self.is_leaving = False
        """Whether the replica is on its way out: to be given nothing new."""
        self.is_over = False
        """Whether the connection is no longer kept up, because the replica has left."""
        self.num_sessions = 0
        """Sessions placed here by this orchestrator, through whichever stream."""
        self.load = 0
        """What one round of each of them has a model read, as `slowness.load` counts it."""
        self.speed = Speed()
        self._doubted_at = 0.0
        self._missed_since = time.monotonic()
        self._tokenizer = tokenizer
        self._on_change = on_change
        self._tls = tls
        self._leases: dict[str, Lease] = {}
        self._outbox: asyncio.Queue[Any] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._log = logger("orchestrator.links").bind(replica=address, replica_role=self.role)

    @property
    def name(self) -> str:
        """Role and address, for messages."""
        return f"{self.role} replica {self.address}"

    @property
    def is_idle(self) -> bool:
        """Whether nothing of this orchestrator's is under way there."""
        return not self.num_sessions

    def take(self, load: int) -> None:
        """Counts a session that is placed here, ``load`` being as `slowness.load` counts it."""
        self.num_sessions += 1
        self.load += load

    def give_back(self, load: int) -> None:
        """Counts a session that has gone."""
        self.num_sessions -= 1
        self.load -= load
        self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        if self.is_leaving and self.is_idle:
            self._on_change()

    @property
    def doubted_at(self) -> float:
        """When it last failed a session, by `time.monotonic`; 0 where that was long ago, or before it came back."""
        return self._doubted_at if time.monotonic() < self._doubted_at + DOUBT_SECONDS else 0.0

    def doubt(self) -> None:
        """Notes that it failed a session, though its stream is open: it may be stopped, or cut off."""
        self._doubted_at = time.monotonic()

    @property
    def back_in_seconds(self) -> float:
        """How much longer it may be back any moment; 0 where that is over, or it is there, or does not fit."""
        if self.state not in ("connecting", "down"):
            return 0.0
        return max(0.0, self._missed_since + RETURN_SECONDS - time.monotonic())

    def start(self) -> None:
        """Starts keeping the connection up."""
        self._task = asyncio.create_task(self._keep_up(), name=f"link to {self.name}")

    async def close(self) -> None:
        """Ends the stream and every lease on it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def end_lease(self, lease: Lease, *, tell: bool) -> None:
        """Forgets a lease and tells the replica, unless a newer lease of the session has taken its place."""
        if self._leases.get(lease.session_id) is lease:
            del self._leases[lease.session_id]
            if tell:
                self._outbox.put_nowait(self._released(lease.session_id, lease.fence))

    def send_committed(self, session_id: str, fence: Fence, position: int) -> None:
        """Passes a commit watermark on."""
        watermark = types_pb2.CommitWatermark(session_id=session_id, fence=codec.encode_fence(fence), position=position)
        self._outbox.put_nowait(self._committed(watermark))

    def _begin(self, work: Work, request: Any) -> Lease:
        if self.state != "accepted":
            raise Unavailable(self.reason)
        older = self._leases.get(work.session_id)
        lease = self._leases[work.session_id] = Lease(self, work)
        if older is not None:
            older.deliver(LeaseOver(Stale("another stream has taken the session over")))
        # The outbox holds at most a few messages of each session, which waits for an outcome before it adds another.
        self._outbox.put_nowait(request)
        return lease

    def _deliver(self, session_id: str, event: Judged | LeaseOver) -> None:
        if isinstance(event, Judged) and self.description is not None:
            codec.check_token_ids(event.outcome.token_ids, self.description.vocab_size, "an outcome")
        lease = self._leases.get(session_id)
        if lease is None:
            return  # it was released, and this is late
        if isinstance(event, LeaseOver):
            if 0 < event.highest_epoch < lease.fence.epoch:
                return  # said to an earlier lease's request: the replica has not seen this one yet
            del self._leases[session_id]
        lease.deliver(event)

    async def _keep_up(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        try:
            while True:
                state, reason = await self._connect_and_serve()
                if self.state == "accepted":
                    backoff = FIRST_BACKOFF_SECONDS
                self._become(state, reason)
                self._end_all(Unavailable(reason))
                if self.is_leaving:
                    self.is_over = True
                    self._on_change()
                    return
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, LAST_BACKOFF_SECONDS)
        finally:
            self.state, self.reason = "down", "the orchestrator is stopping"
            self._end_all(Unavailable(self.reason))

    async def _connect_and_serve(self) -> tuple[State, str]:
        """Serves the stream until it ends; returns what the link is then, and why."""
        async with open_channel(self.address, self._tls) as channel:
            try:
                answer = await self._describe(channel)
                description = codec.decode_description(answer)
                if description.lifecycle != "ready":
                    return "down", f"{self.name} is {description.lifecycle}"
                self._check(description)
                if self.description is not None and self.description.instance_id != description.instance_id:
                    self.speed = Speed()  # another process, and perhaps another machine
                self.description = description
                self._outbox = asyncio.Queue()
                call = self._open(channel)
                self._become("accepted", "")
                await self._serve(call)
                return "down", f"{self.name} ended its stream"
            except grpc.aio.AioRpcError as error:
                found = error_of(error)
                kind: State = "refused" if isinstance(found, InvalidArgument) else "down"
                return kind, f"{self.name} cannot be used: {found}{hint(str(found), self._tls)}"
            except InvalidArgument as error:
                return "refused", str(error)

    async def _serve(self, call: Any) -> None:
        sender = asyncio.create_task(self._send(call), name=f"requests to {self.name}")
        try:
            async for response in call:
                try:
                    self._receive(response)
                except InvalidArgument as error:  # a message that breaks its bounds: a peer not to be trusted further
                    raise InvalidArgument(f"{self.name} broke the contract: {error}") from None
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            call.cancel()

    async def _send(self, call: Any) -> None:
        while True:
            await call.write(await self._outbox.get())

    def _check(self, description: codec.Description) -> None:
        """Raises `ModelRefused` when this replica does not fit this orchestrator."""
        if description.role != self.role:
            raise ModelRefused(f"{self.address} is a {description.role or 'nameless'} service; expected {self.role}")
        if description.drawing_version != DRAWING_VERSION:
            raise ModelRefused(
                f"{self.name} draws by version {description.drawing_version}; this side expects {DRAWING_VERSION}"
            )
        if description.tokenizer_digest != self._tokenizer.digest:
            raise ModelRefused(
                f"{self.name} (model {description.model}) has another tokenizer than the orchestrator: digest "
                f"{description.tokenizer_digest[:12] or 'none'} instead of {self._tokenizer.digest[:12]}. Draft and "
                "target must share one vocabulary; use a pair of the same family"
            )

    def _become(self, state: State, reason: str) -> None:
        if (state, reason) == (self.state, self.reason):
            return
        if state == "accepted":
            self._doubted_at = 0.0
            assert self.description is not None
            self._log.info("replica accepted", model=self.description.model, instance=self.description.instance_id)
        elif state == "refused":
            self._log.error("replica refused", reason=reason)
        elif self.state == "accepted":
            self._missed_since = time.monotonic()
            self._log.warning("replica lost", reason=reason)
        self.state, self.reason = state, reason
        self._on_change()

    def _end_all(self, error: TandemError) -> None:
        leases, self._leases = self._leases, {}
        for lease in leases.values():
            lease.deliver(LeaseOver(error, at_verify=self.role == "verify"))

    @abstractmethod
    async def _describe(self, channel: grpc.aio.Channel) -> types_pb2.DescribeResponse:
        """Asks the replica what it is."""

    @abstractmethod
    def _open(self, channel: grpc.aio.Channel) -> Any:
        """Opens the stream."""

    @abstractmethod
    def _receive(self, response: Any) -> None:
        """Hands one message of the stream to its session."""

    @abstractmethod
    def _committed(self, watermark: types_pb2.CommitWatermark) -> Any:
        """The stream's message that carries a watermark."""

    @abstractmethod
    def _released(self, session_id: str, fence: Fence) -> Any:
        """The stream's message that takes a session back."""
