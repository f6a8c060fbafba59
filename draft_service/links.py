"""The long-lived streams to verify replicas: one each, shared by all sessions, opened on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import grpc
import grpc.aio

from draft_service.events import AskVerdict, CloseAtVerify, Event, Judged, VerifyLost, VerifyRequest
from draft_service.wire import read_judged, write_judge
from tandem.errors import TandemError, Unavailable
from tandem.pem_files import PemFiles
from tandem.rpc.channel import open_channel
from tandem.rpc.status import error_of
from tandem.rpc.streams import Outbox
from tandem.rpc.tls import hint
from tandem.telemetry import logger
from tandem.v1 import verify_pb2, verify_pb2_grpc

_log = logger("draft_service")


class VerifyLinks:
    """Owns the links by address. A link lives until its stream ends; whoever wants it again gets a new one."""

    def __init__(self, post: Callable[[Event], None], tls: PemFiles | None = None) -> None:
        self._post = post
        self._tls = tls
        self._links: dict[str, _Link] = {}

    def send(self, address: str, request: VerifyRequest) -> None:
        """Sends a request in order, over a new stream where there is none. A failure is told as `VerifyLost`."""
        link = self._links.get(address)
        if link is None and isinstance(request, CloseAtVerify):
            return  # with its stream, the session was over there
        if link is None:
            link = self._links[address] = _Link(address, self._post, self._forget, self._tls)
        link.send(request)

    async def close(self) -> None:
        """Ends every link, after what waits is written."""
        links = list(self._links.values())
        for link in links:
            link.outbox.end()
        if links:
            await asyncio.wait([link.task for link in links], timeout=0.5)
        for link in links:
            link.task.cancel()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)

    def _forget(self, address: str) -> None:
        self._links.pop(address, None)


class _Link:
    """One stream. Its task ends with the stream, or when `VerifyLinks` is closed."""

    def __init__(
        self,
        address: str,
        post: Callable[[Event], None],
        forget: Callable[[str], None],
        tls: PemFiles | None,
    ) -> None:
        self.outbox: Outbox[verify_pb2.JudgeRequest] = Outbox()
        self._address = address
        self._post = post
        self._forget = forget
        self._tls = tls
        self._written_in: dict[str, float] = {}
        """Seconds that writing the proposal under way took, by session; its verdict or its end takes it out."""
        self.task = asyncio.ensure_future(self._run())

    def send(self, request: VerifyRequest) -> None:
        """Has a request written after those before it."""
        began = time.monotonic()
        self.outbox.put(write_judge(request))
        if isinstance(request, AskVerdict):
            self._written_in[request.name.session_id] = time.monotonic() - began
        elif isinstance(request, CloseAtVerify):
            self._written_in.pop(request.session_id, None)

    def _read(self, response: verify_pb2.JudgeResponse) -> Event | None:
        began = time.monotonic()
        event = read_judged(response, self._address)
        if isinstance(event, Judged):
            seconds = time.monotonic() - began + self._written_in.pop(event.name.session_id, 0.0)
            return replace(event, serialise_seconds=seconds)
        return event

    async def _run(self) -> None:
        error: TandemError = Unavailable("the stream was ended")
        try:
            async with open_channel(self._address, self._tls) as channel:
                error = await self._converse(verify_pb2_grpc.VerifyServiceStub(channel).Judge())  # type: ignore[no-untyped-call]
        finally:
            self._forget(self._address)
            self._post(VerifyLost(self._address, error))
            _log.info("verify stream ended", address=self._address, reason=str(error))

    async def _converse(self, call: grpc.aio.StreamStreamCall) -> TandemError:
        """Reads and writes until the stream ends; returns why it did."""
        writer = asyncio.ensure_future(self._write(call))
        try:
            async for response in call:
                event = self._read(response)
                if event is not None:
                    self._post(event)
        except grpc.RpcError as error:
            found = error_of(error)
            return Unavailable(f"{found}{hint(str(found), self._tls)}") if isinstance(found, Unavailable) else found
        except TandemError as error:
            return error  # it breaks the contract; nothing it says can be trusted
        finally:
            writer.cancel()
            call.cancel()
        return Unavailable("the replica ended the stream")

    async def _write(self, call: grpc.aio.StreamStreamCall) -> None:
        try:
            await self.outbox.pump(call.write)
            await call.done_writing()
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the reader learns why
        except TandemError:
            call.cancel()  # it does not read
