"""Who makes the texts that a command asks for: a running stack, or models in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from tandem.cli.source import DEFAULT_ADDRESS, Source, nobody_there
from tandem.client import AsyncClient, AsyncStream
from tandem.client.access import key_of
from tandem.errors import TandemError, Unavailable
from tandem.generation import Generation, Options, Part
from tandem.rpc.codec import Description
from tandem.tokenization import Tokenizer, tokenizer_digest

if TYPE_CHECKING:
    from tandem.local import LocalDecoder, LocalStream

_SESSION_POLL_SECONDS = 0.02
_LEAVING_SECONDS = 1.0
"""How long a stack may take to hear that a text is not wanted any more; its session expires in any case."""


class Answer(Protocol):
    """One text in the making: its parts as they are committed. Left before its end, it is ended there."""

    @property
    def generation(self) -> Generation:
        """The whole text, once it has been read to its end."""

    async def cancel(self) -> None:
        """Ends the text within a round; what is left of it is still read."""

    def __aiter__(self) -> AsyncIterator[Part]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class Answerer(Protocol):
    """Makes texts, several at the same time."""

    def ask(self, prompt: str | Sequence[int], options: Options) -> Answer:
        """Begins a text; what cannot be served is told when its parts are read."""

    async def model(self) -> str:
        """The target's name, a folder or a Hugging Face id."""

    async def tokenizer_digest(self) -> str:
        """Of what it reads; see `tandem.tokenization`."""


@asynccontextmanager
async def answerer(source: Source) -> AsyncIterator[Answerer]:
    """Connects, or loads the models; undone at the end of the block.

    Raises:
        ModelRefused: a model cannot be loaded, or the two do not fit.
    """
    if not source.in_process:
        async with AsyncClient(
            source.address or DEFAULT_ADDRESS, api_key=key_of(source.api_key_file), tls_ca=source.tls_ca
        ) as client:
            yield Served(client, named=source.address is not None)
        return
    for name in source.models:
        tokenizer_digest(name)  # a wrong name is told before the seconds that importing torch takes
    # The models belong to one thread, so that the loop goes on hearing Ctrl-C while they compute.
    with ThreadPoolExecutor(1, "models") as thread:
        yield InProcess(await asyncio.get_running_loop().run_in_executor(thread, _load, source), thread, source)


def _load(source: Source) -> LocalDecoder:
    from tandem.local import LocalDecoder  # imports torch

    return LocalDecoder(*source.models, dtype=source.dtype)


class Served:
    """A running stack."""

    def __init__(self, client: AsyncClient, named: bool) -> None:
        """``named``: whether the address was given, rather than assumed."""
        self._client = client
        self._named = named

    def ask(self, prompt: str | Sequence[int], options: Options) -> ServedAnswer:
        """See `Answerer`."""
        return ServedAnswer(self._client, self._client.stream(prompt, **options))

    async def model(self) -> str:
        """See `Answerer`."""
        return (await self._described()).model

    async def tokenizer_digest(self) -> str:
        """See `Answerer`."""
        return (await self._described()).tokenizer_digest

    async def _described(self) -> Description:
        try:
            return await self._client.describe()
        except Unavailable as error:
            if self._named:
                raise
            raise nobody_there(error) from error


class ServedAnswer:
    """A session of a running stack."""

    def __init__(self, client: AsyncClient, stream: AsyncStream) -> None:
        self._client = client
        self._stream = stream
        self._over = False

    @property
    def session_id(self) -> str:
        """The session; empty until it has begun."""
        return self._stream.session_id

    @property
    def generation(self) -> Generation:
        """See `Answer`."""
        return self._stream.generation

    async def cancel(self) -> None:
        """See `Answer`."""
        # A session without a name cannot be ended yet, and nobody tells when it has one.
        while not self._stream.session_id and not self._over:  # noqa: ASYNC110
            await asyncio.sleep(_SESSION_POLL_SECONDS)
        if not self._over:
            await self._client.cancel(self._stream.session_id)

    async def __aiter__(self) -> AsyncIterator[Part]:
        try:
            async for part in self._stream:
                yield part
            self._over = True
        except TandemError:  # it failed, and so it has ended
            self._over = True
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if not self._over and self._stream.session_id:  # nobody comes back for the rest
            with suppress(TandemError, TimeoutError):
                async with asyncio.timeout(_LEAVING_SECONDS):
                    await self._client.cancel(self._stream.session_id)
        self._over = True
        self._stream.close()


class InProcess:
    """Two models in this process. Texts asked for at the same time take turns, a round each."""

    def __init__(self, decoder: LocalDecoder, thread: ThreadPoolExecutor, source: Source) -> None:
        self._decoder = decoder
        self._thread = thread
        self._source = source

    def ask(self, prompt: str | Sequence[int], options: Options) -> LocalAnswer:
        """See `Answerer`."""
        return LocalAnswer(self._decoder, self._thread, prompt, options)

    async def model(self) -> str:
        """See `Answerer`."""
        return self._source.models[0]

    async def tokenizer_digest(self) -> str:
        """See `Answerer`."""
        return self._decoder.tokenizer.digest


class LocalAnswer:
    """A text of the models in this process."""

    def __init__(
        self, decoder: LocalDecoder, thread: ThreadPoolExecutor, prompt: str | Sequence[int], options: Options
    ) -> None:
        self._decoder = decoder
        self._thread = thread
        self._prompt = prompt
        self._options = options
        self._stream: LocalStream | None = None
        self._cancelled = False

    @property
    def generation(self) -> Generation:
        """See `Answer`."""
        assert self._stream is not None, "it has not been read"
        return self._stream.generation

    async def cancel(self) -> None:
        """See `Answer`."""
        self._cancelled = True

    async def __aiter__(self) -> AsyncIterator[Part]:
        loop = asyncio.get_running_loop()
        while (part := await loop.run_in_executor(self._thread, self._next)) is not None:
            yield part

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._stream is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._stream.close)

    def _next(self) -> Part | None:
        """The next part, in the models' thread."""
        if self._stream is None:
            self._stream = self._decoder.stream(self._prompt, **self._options)
        if self._cancelled:
            self._stream.cancel()
        return next(self._stream, None)


def tokenizer_of(model: str) -> Tokenizer | None:
    """The tokenizer of a model that may lie on another machine; None where it is not to be had here."""
    try:
        return Tokenizer.from_pretrained(model)
    except TandemError:
        return None
