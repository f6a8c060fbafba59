"""An orchestrator on a real Redis, with scripted replicas on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from orchestrator.service import Orchestrator
from orchestrator.settings import OrchestratorSettings
from tandem.rpc.channel import open_channel
from tandem.rpc.server import Listen, serve
from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2 as pb
from tandem.v1 import generation_pb2_grpc
from tests.support.replicas import NextToken, Replica, ScriptedDraft, ScriptedVerify, describe, scripted
from tests.support.tiny_pair import make_tokenizer

PROMPT = (5, 6, 7)
SCRIPT = tuple(range(40, 97))


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.from_pretrained(tokenizer_folder)


@dataclass
class Text:
    """A stream, read to its end."""

    started: pb.SessionStarted
    parts: list[pb.TextPart]
    finished: pb.SessionFinished

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(token for part in self.parts for token in part.token_ids)

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts)


class Served:
    """A running orchestrator and a client of it."""

    def __init__(self, service: Orchestrator, registry: CollectorRegistry, address: str, channel: Any) -> None:
        self.service = service
        self.registry = registry
        self.address = address
        self.stub: Any = generation_pb2_grpc.GenerationServiceStub(channel)

    def generate(self, **fields: Any) -> Any:
        values: dict[str, Any] = {"token_ids": pb.TokenIds(ids=PROMPT), "max_tokens": 20}
        if "text" in fields:
            del values["token_ids"]
        return self.stub.Generate(pb.GenerateRequest(**(values | fields)), timeout=20)

    async def read(self, call: Any) -> Text:
        messages = [message async for message in call]
        return Text(messages[0].started, [message.part for message in messages[1:-1]], messages[-1].finished)

    async def text(self, **fields: Any) -> Text:
        return await self.read(self.generate(**fields))

    async def resume(self, session_id: str, position: int, digest: bytes, token_ids: Sequence[int] = ()) -> Text:
        request = pb.ResumeRequest(session_id=session_id, position=position, digest=digest, token_ids=token_ids)
        return await self.read(self.stub.Resume(request, timeout=20))

    async def refusal(self, **fields: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.text(**fields)
        return caught.value

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"tandem:{name}", labels) or 0.0


class Stage:
    """Makes replicas and orchestrators, and ends them all."""

    def __init__(self, redis_url: str, tokenizer_folder: Path, digest: str, ending: AsyncExitStack) -> None:
        self.redis_url = redis_url
        self._folder = tokenizer_folder
        self._digest = digest
        self._ending = ending

    async def draft(self, next_token: NextToken | None = None, **description: Any) -> ScriptedDraft:
        return await self._start(ScriptedDraft(describe("draft", self._digest, **description), next_token or SCRIPTED))

    async def verify(self, next_token: NextToken | None = None, **description: Any) -> ScriptedVerify:
        return await self._start(
            ScriptedVerify(describe("verify", self._digest, **description), next_token or SCRIPTED)
        )

    async def _start(self, replica: Any) -> Any:
        await replica.start()
        self._ending.push_async_callback(replica.stop)
        return replica

    async def orchestrator(
        self, verify: Sequence[Replica | str], draft: Sequence[Replica | str] = (), **settings: Any
    ) -> Served:
        values: dict[str, Any] = {
            "verify": ",".join(one if isinstance(one, str) else one.address for one in verify),
            "draft": ",".join(one if isinstance(one, str) else one.address for one in draft),
            "tokenizer": str(self._folder),
            "redis_url": self.redis_url,
            "startup_timeout": 1.0,
        }
        flags = [flag(name.replace("_", "-"), value) for name, value in (values | settings).items() if value != ""]
        registry = CollectorRegistry()
        loaded = OrchestratorSettings.load(flags, {})
        service = Orchestrator(loaded, registry)
        listen = Listen(tls=loaded.open_public_tls())
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def on_ready(address: str) -> None:
            ready.set_result(address)

        stop = asyncio.Event()
        task = asyncio.create_task(serve(service, listen, registry, stop=stop, on_ready=on_ready))

        async def end() -> None:
            stop.set()
            with contextlib.suppress(Exception):
                await task

        self._ending.push_async_callback(end)
        await asyncio.wait((ready, task), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        channel = open_channel(ready.result())
        self._ending.push_async_callback(channel.close)
        served = Served(service, registry, ready.result(), channel)
        served.stop = stop.set  # type: ignore[attr-defined]
        return served


def flag(name: str, value: Any) -> str:
    """A setting as it is given on the command line."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"


SCRIPTED = scripted(SCRIPT, len(PROMPT))


@pytest.fixture
async def stage(redis_url: str, tokenizer_folder: Path, tokenizer: Tokenizer) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as ending:
        yield Stage(redis_url, tokenizer_folder, tokenizer.digest, ending)


@pytest.fixture
async def served(stage: Stage) -> Served:
    """One of each role."""
    verify, draft = await stage.verify(), await stage.draft()
    return await stage.orchestrator([verify], [draft])
