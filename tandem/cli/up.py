"""``tandem up``: the whole stack on this machine."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from tandem.cli import options
from tandem.cli.speculative_config import EXAMPLE, drafting
from tandem.errors import TandemError
from tandem.stack import Counts, Doors, Models, Plan, Stack

START_FAILED = 2


def up(
    target: options.Target = None,
    draft: options.Draft = None,
    dtype: options.Dtype = "auto",
    host: Annotated[str, typer.Option(help="Interface of the orchestrators; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="First orchestrator's gRPC port; 0 picks free ones.")] = 7070,
    http_port: Annotated[
        int, typer.Option(help="First orchestrator's port of the OpenAI-compatible API; 0 picks free ones.")
    ] = 8080,
    api_keys: Annotated[
        Path | None,
        typer.Option(help="File of the API keys to ask for, see `tandem keys new`; nobody is asked if none."),
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="A running Redis; started here if not given.")] = None,
    drafts: Annotated[int, typer.Option(help="Number of draft processes.")] = 1,
    verifies: Annotated[int, typer.Option(help="Number of verify processes.")] = 1,
    orchestrators: Annotated[int, typer.Option(help="Number of orchestrators.")] = 1,
    parallelism: Annotated[
        int, typer.Option(min=1, max=64, help="Ranks that run each target together, a GPU each of this machine.")
    ] = 1,
    compile: options.Compile = False,
    threads: options.Threads = None,
    ready_file: Annotated[Path | None, typer.Option(help="JSON file that says what serves where.")] = None,
    log_dir: Annotated[Path | None, typer.Option(help="Folder for the processes' complete logs.")] = None,
    method: options.Method = None,
    draft_length: options.DraftLength = None,
    beam_width: options.BeamWidth = None,
    threshold: options.Threshold = None,
    speculative_config: Annotated[
        str | None,
        typer.Option(help=f"Method, draft model and dials as one JSON object, in vLLM's shape: {EXAMPLE}"),
    ] = None,
) -> None:
    """Starts everything on this machine as separate processes; stops it on Ctrl-C."""
    dials = {"method": method, "draft-length": draft_length, "beam-width": beam_width, "threshold": threshold}
    said = drafting(speculative_config, {"draft": draft} | dials)
    plan = Plan(
        models=Models(target, said.draft, dtype, threads, parallelism, compile),
        counts=Counts(drafts, verifies, orchestrators),
        doors=Doors(host, port, http_port),
        defaults=said.defaults,
        api_keys=api_keys,
        redis_url=redis_url,
        ready_file=ready_file,
        log_dir=log_dir,
    )
    raise typer.Exit(asyncio.run(_up(plan)))


def _say(line: str) -> None:
    print(line, flush=True)


async def _up(plan: Plan) -> int:
    """Runs the stack until told to stop; returns the exit code."""
    stack = Stack(plan, _say)
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():  # asked twice: no more patience
            stack.kill()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    starting = asyncio.ensure_future(stack.start())
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        _say("starting…" + (" the first time, models are compiled, which takes minutes" if plan.models.compile else ""))
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            _announce(stack)
            await stopped
        _say("stopping…")
        return 0
    except TandemError as error:
        typer.echo(f"error: {error}", err=True)
        return START_FAILED
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await stack.stop()


def _announce(stack: Stack) -> None:
    for process in stack.processes():
        what = stack.store if process["role"] == "store" else f"metrics at {process['metrics']}"
        _say(f"  {process['role']:<13} {process['address']:<22} pid {process['pid']:<8} {what}")
    for url in stack.http:
        _say(f"  {'HTTP':<13} {url}")
    address = stack.grpc[0]
    _say(f'ready: tandem generate "…" --address {address}   (Ctrl-C stops everything)')
