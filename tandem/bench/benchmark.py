"""A whole benchmark: a plan and a pair in, a folder with groups, figures and plots out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.utils import logging

from tandem.bench.contender import Contender
from tandem.bench.memory import resident_bytes
from tandem.bench.ours import Local, Services
from tandem.bench.pair import Pair
from tandem.bench.peers import Setup, load_peers
from tandem.bench.plan import Plan
from tandem.bench.requests import Requests
from tandem.bench.runner import Entry, Progress, Runner
from tandem.client import AsyncClient
from tandem.engine.checkpoint import open_checkpoint
from tandem.errors import InvalidArgument
from tandem.local import LocalDecoder
from tandem.stack import Doors, Models, Stack
from tandem.stack import Plan as StackPlan

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Served:
    """A stack that answers."""

    client: AsyncClient
    resident: Callable[[], tuple[tuple[str, int], ...]]
    """Memory of its processes; empty where they are not known."""


@asynccontextmanager
async def started(pair: Pair, say: Say) -> AsyncIterator[Served]:
    """A stack started for the run, and stopped at its end.

    Raises:
        TandemError: it could not be started.
    """
    models = Models(pair.target, pair.draft, pair.dtype, pair.threads, compile=pair.compile)
    plan = StackPlan(models=models, doors=Doors(port=0, http_port=0))
    async with Stack(plan, say) as stack, AsyncClient(stack.grpc) as client:
        yield Served(client, lambda: resident_bytes(stack.processes()))


@asynccontextmanager
async def running(client: AsyncClient, pair: Pair) -> AsyncIterator[Served]:
    """A stack that runs already; it must serve the pair that the others are given.

    Raises:
        TandemError: it cannot be reached, or serves another target, or computes in other numbers.
    """
    async with client:
        found = await client.describe()
        if found.weights_digest != pair.target_digest:
            raise InvalidArgument(
                f"the stack serves {found.model} (digest {found.weights_digest[:12]}), the peers would run "
                f"{pair.target} (digest {pair.target_digest[:12]}): name the served pair with --target and --draft; "
                "its files must be on this machine"
            )
        if found.dtype != pair.dtype:
            raise InvalidArgument(
                f"the stack computes in {found.dtype}, the peers would in {pair.dtype}: give --dtype {found.dtype}, or "
                f"start the stack with --dtype {pair.dtype}"
            )
        yield Served(client, tuple)


def names_of_ours(plan: Plan) -> list[str]:
    """Tandem's contenders, in order."""
    return [f"{place}:{method}" for place in plan.places for method in plan.methods]


async def benchmark(plan: Plan, pair: Pair, served: Served | None, folder: Path, told: Progress) -> None:
    """Measures whatever is missing in ``folder``.

    Args:
        plan: what to measure.
        pair: what runs.
        served: the stack; may be None where the plan does not ask for it.
        folder: of the run; one that lies there goes on.
        told: of the progress.

    Raises:
        TandemError: the folder holds another run, or somebody cannot answer; what was recorded stays.
    """
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(pair.threads)
    async with AsyncExitStack() as held:
        decoder = LocalDecoder(pair.target, pair.draft, dtype=pair.dtype, compile=pair.compile)
        entries: list[Entry] = []
        traced: tuple[Services, int] | None = None
        for place in plan.places:
            for number, method in enumerate(plan.methods):
                contender: Contender
                if place == "local":
                    contender = Local(decoder, plan.options(method))
                else:
                    assert served is not None
                    contender = Services(served.client, plan.options(method))
                    traced = traced or (contender, len(plan.methods))
                entries.append(Entry(contender, number))
        for peer in load_peers(plan.peers, _setup(plan, pair)):
            held.push_async_callback(peer.close)
            entries.append(Entry(peer))
        requests = Requests(plan, decoder.tokenizer, len(plan.methods) + 1)
        resident = served.resident if served is not None else tuple
        await Runner(plan, entries, traced, requests, folder, resident).run(told)


def _setup(plan: Plan, pair: Pair) -> Setup:
    positions = int(open_checkpoint(pair.target).config["max_position_embeddings"])
    return Setup(pair, plan.draft_length, plan.temperature, plan.top_k, plan.top_p, max(plan.concurrency), positions)
