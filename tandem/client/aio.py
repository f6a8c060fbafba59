"""The client for asyncio."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import grpc
import grpc.aio

from tandem.client.access import Access
from tandem.client.attempts import Attempts, Patience, parse_addresses
from tandem.client.calls import UNARY_TIMEOUT_SECONDS, as_tandem, open_stream, resume_request
from tandem.client.reader import Request, SessionReader
from tandem.errors import Unavailable
from tandem.generation import Generation, Options, Part, Score
from tandem.retry_budget import RetryBudget
from tandem.rpc.codec import Description, decode_description
from tandem.rpc.generation_codec import decode_score, encode_request, encode_score_request
from tandem.v1 import generation_pb2 as pb
from tandem.v1 import types_pb2
from tandem.v1.generation_pb2_grpc import GenerationServiceStub


class AsyncClient:
    """A client of one orchestrator, or of several that share a store. Belongs to the event loop of its first call."""

    def __init__(
        self,
        addresses: str | Sequence[str] = "127.0.0.1:7070",
        patience: Patience | None = None,
        *,
        api_key: str | None = None,
        tls_ca: str | Path | None = None,
    ) -> None:
        """Takes addresses as host:port; connects on first use.

        Args:
            addresses: one, or several that share a store.
            patience: how long to go on trying.
            api_key: sent with every call; that of ``TANDEM_API_KEY`` where None.
            tls_ca: file of the CA that the servers' certificates are of, or ``public``; None is plaintext.

        Raises:
            InvalidArgument: an address has another form, or the key or the file cannot be used.
        """
        self._patience = patience or Patience()
        self._access = Access(api_key, tls_ca, self._patience.silence_seconds)
        self._addresses = parse_addresses(addresses)
        self._budget = RetryBudget()
        self._turns = itertools.count()
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def generate(
        self, prompt: str | Sequence[int], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> Generation:
        """Generates a text and returns it whole. Arguments and errors as `tandem.Client.generate`."""
        async with self.stream(prompt, timeout=timeout, **options) as stream:
            async for _ in stream:
                pass
            return stream.generation

    def stream(
        self, prompt: str | Sequence[int], *, timeout: float | None = None, **options: Unpack[Options]
    ) -> AsyncStream:
        """Generates a text and yields its parts as they are committed. Arguments and errors as `generate`."""
        return self._stream(encode_request(prompt, options), timeout)

    def resume(
        self,
        session_id: str,
        position: int,
        digest: bytes,
        *,
        token_ids: Sequence[int] = (),
        timeout: float | None = None,
    ) -> AsyncStream:
        """Yields the parts of a session that follow what the caller has. Arguments as `tandem.Client.resume`."""
        return self._stream(resume_request(session_id, position, digest, token_ids), timeout)

    async def cancel(self, session_id: str) -> None:
        """Ends a session; one that has ended already stays as it is.

        Raises:
            NotFound: there is no such session.
        """
        await self._unary("Cancel", pb.CancelRequest(session_id=session_id))

    async def delete(self, session_id: str) -> None:
        """Ends a session and has its prompt and text forgotten at once.

        Raises:
            NotFound: there is no such session of this client's.
        """
        await self._unary("Delete", pb.DeleteRequest(session_id=session_id))

    async def score(
        self, prompt: str | Sequence[int], *, num_top_log_probs: int = 0, timeout: float | None = None
    ) -> Score:
        """Tells how probable a text is under the target. Arguments and errors as `tandem.Client.score`."""
        request = encode_score_request(prompt, num_top_log_probs)
        return decode_score(await self._unary("Score", request, timeout))

    async def describe(self) -> Description:
        """What an orchestrator serves."""
        return decode_description(await self._unary("Describe", types_pb2.DescribeRequest()))

    async def close(self) -> None:
        """Closes all connections; streams still being read end."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def _stream(self, request: Request, timeout: float | None) -> AsyncStream:
        return AsyncStream(self._stub, SessionReader(request), self._attempts(timeout), self._access)

    def _attempts(self, timeout: float | None) -> Attempts:
        return Attempts(self._addresses, next(self._turns), self._patience, time.monotonic(), timeout, self._budget)

    def _stub(self, address: str) -> Any:
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = self._access.aio_channel(address)
        return GenerationServiceStub(channel)  # type: ignore[no-untyped-call]

    async def _unary(self, name: str, request: Any, timeout: float | None = UNARY_TIMEOUT_SECONDS) -> Any:
        attempts = self._attempts(timeout)
        while True:
            try:
                call = getattr(self._stub(attempts.address), name)
                return await call(request, timeout=attempts.remaining(time.monotonic()), metadata=self._access.metadata)
            except grpc.RpcError as error:
                await asyncio.sleep(
                    attempts.pause(self._access.explained(as_tandem(error)), time.monotonic(), started=False)
                )


class AsyncStream(AsyncIterator[Part]):
    """The parts of one text, as they are committed; read by one task. Otherwise as `tandem.client.Stream`."""

    def __init__(self, stub_of: Any, reader: SessionReader, attempts: Attempts, access: Access) -> None:
        self._stub_of = stub_of
        self._access = access
        self._reader = reader
        self._call: Any = None
        self._closed = False
        self._parts = self._read(attempts)

    @property
    def session_id(self) -> str:
        """The session; empty until it has started."""
        return self._reader.session_id

    @property
    def prompt_token_ids(self) -> tuple[int, ...]:
        """The prompt as the target reads it; empty until the session has started."""
        return self._reader.prompt_token_ids

    @property
    def generation(self) -> Generation:
        """The whole text with its figures, once the stream has been read to its end."""
        return self._reader.generation()

    def close(self) -> None:
        """Stops reading."""
        self._closed = True
        self._end_call()

    def _end_call(self) -> None:
        if self._call is not None:
            self._call.cancel()

    async def __anext__(self) -> Part:
        return await anext(self._parts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()
        await self._parts.aclose()

    async def _read(self, attempts: Attempts) -> AsyncGenerator[Part]:
        reader = self._reader
        while not reader.finished:
            try:
                remaining = attempts.remaining(time.monotonic())
                self._call = open_stream(
                    self._stub_of(attempts.address), reader.next_request(), remaining, self._access.metadata
                )
                async for message in self._call:
                    attempts.progressed(time.monotonic())
                    part = reader.receive(message)
                    if part is not None:
                        yield part
                if not reader.finished:
                    raise Unavailable("the stream ended before the text did")
            except (grpc.RpcError, Unavailable) as error:
                meaning = self._access.explained(reader.meaning_of(as_tandem(error), closed=self._closed))
                await asyncio.sleep(attempts.pause(meaning, time.monotonic(), reader.started))
            finally:
                self._end_call()
        attempts.succeeded()
