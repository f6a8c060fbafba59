"""Verify and draft services in the test's own event loop, on real sockets, with tables for models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
from prometheus_client import CollectorRegistry

from draft_service.drafter import Limits as DraftLimits
from draft_service.service import DraftService
from tandem.decoding.values import Decoding, Fence, Floats, Outcome, Sampling, Speculation
from tandem.engine.hosting import HostedModel
from tandem.engine.proposer import Proposer
from tandem.engine.verifier import Verifier
from tandem.pem_files import PemFiles
from tandem.rpc.channel import open_channel
from tandem.rpc.server import Listen, Service, serve
from tests.support.tabular import TabularModel, random_tables
from verify_service.service import VerifyService
from verify_service.sessions import Limits as VerifyLimits

TARGET, DRAFT = random_tables(seed=7, vocab_size=8)
MAX_POSITIONS = 200
PROMPT = [1, 2, 3]
PATIENCE = 10.0
"""Seconds after which an answer that should have come is missing."""


def hosted(table: Floats, model: TabularModel | None = None) -> HostedModel:
    """A table as a service hosts it."""
    return HostedModel(
        model=model or TabularModel(table),
        name="table",
        weights_digest="00",
        vocab_size=table.shape[-1],
        max_positions=MAX_POSITIONS,
        eos_token_ids=(0,),
        dtype="float64",
        num_kv_slots=0,
        kv_usage=lambda: 0.0,
    )


def decoding(method: str = "mtad", seed: int = 5, max_position: int = 60, **changes: object) -> Decoding:
    """What decides the text of most tests; end tokens are passed over unless asked for."""
    sampling = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=seed)
    speculation = Speculation(method, draft_length=3, beam_width=2, threshold=0.3)
    values: dict[str, object] = {"eos_token_ids": (0,), "ignore_eos": True, "trace": False, **changes}
    return Decoding(sampling, speculation, max_position, **values)  # type: ignore[arg-type]


def fence(epoch: int = 1, owner: str = "a") -> Fence:
    """A fence of a named owner."""
    return Fence(epoch, (owner * 8)[:8].encode())


def outcomes_in_one_process(
    decode: Decoding, prompt: list[int] = PROMPT, target: Floats = TARGET, draft: Floats = DRAFT
) -> list[Outcome]:
    """What the two models say without any service between them."""
    proposer, verifier = Proposer(TabularModel(draft)), Verifier(TabularModel(target))
    drafting, verifying = proposer.open(prompt, decode), verifier.open(prompt, decode)
    outcomes: list[Outcome] = []
    while not verifying.finished:
        [proposal] = proposer.propose([drafting])
        assert not isinstance(proposal, Exception), proposal
        [outcome] = verifier.judge([(verifying, proposal)])
        assert isinstance(outcome, Outcome), outcome
        drafting.extend(outcome.token_ids)
        outcomes.append(outcome)
    return outcomes


def text_alone(decode: Decoding, prompt: list[int] = PROMPT, target: Floats = TARGET) -> list[int]:
    """What the target alone says after the prompt."""
    verifier = Verifier(TabularModel(target))
    sequence = verifier.open(prompt, decode)
    while not sequence.finished:
        [outcome] = verifier.judge([(sequence, None)])
        assert isinstance(outcome, Outcome), outcome
    return sequence.token_ids[len(prompt) :]


class Running:
    """A service that serves."""

    def __init__(
        self, address: str, registry: CollectorRegistry, stop: asyncio.Event, task: asyncio.Task[None]
    ) -> None:
        self.address = address
        self.registry = registry
        self._stop = stop
        self._task = task

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value now."""
        value = self.registry.get_sample_value(f"tandem:{name}", labels)
        assert value is not None, f"no metric {name} {labels}"
        return value

    def begin_to_stop(self) -> asyncio.Task[None]:
        """Does what SIGTERM does; the task returned ends with the service."""
        self._stop.set()
        return self._task

    async def channel(self) -> grpc.aio.Channel:
        """A new channel to it."""
        return open_channel(self.address)


@asynccontextmanager
async def running(service: Service, registry: CollectorRegistry, tls: PemFiles | None = None) -> AsyncIterator[Running]:
    """Serves until the block ends."""
    stop = asyncio.Event()
    bound: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def ready(address: str) -> None:
        bound.set_result(address)

    task = asyncio.create_task(serve(service, Listen(tls=tls), registry, stop=stop, on_ready=ready))
    await asyncio.wait((bound, task), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield Running(bound.result(), registry, stop, task)
    finally:
        stop.set()
        await task


def verify_service(
    registry: CollectorRegistry, limits: VerifyLimits | None = None, model: TabularModel | None = None
) -> VerifyService:
    """A verify service on the target's table."""
    return VerifyService(lambda: hosted(TARGET, model), "digest", limits or VerifyLimits(), registry)


def draft_service(registry: CollectorRegistry, limits: DraftLimits | None = None) -> DraftService:
    """A draft service on the draft's table."""
    return DraftService(lambda: hosted(DRAFT), "digest", limits or DraftLimits(), registry)


@asynccontextmanager
async def verify_replica(
    limits: VerifyLimits | None = None, model: TabularModel | None = None
) -> AsyncIterator[Running]:
    """A verify replica that serves."""
    registry = CollectorRegistry()
    async with running(verify_service(registry, limits, model), registry) as replica:
        yield replica


@asynccontextmanager
async def draft_replica(limits: DraftLimits | None = None) -> AsyncIterator[Running]:
    """A draft replica that serves."""
    registry = CollectorRegistry()
    async with running(draft_service(registry, limits), registry) as replica:
        yield replica
