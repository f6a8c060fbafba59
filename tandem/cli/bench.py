"""``tandem bench``: latency and throughput, beside what people use otherwise."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from tandem.cli import options
from tandem.errors import InvalidArgument


def bench(
    methods: Annotated[str, typer.Option(help="Methods with commas between, or all.")] = "mtad",
    places: Annotated[
        str, typer.Option(help="Where Tandem decodes: services (a whole stack), local (one process), or both.")
    ] = "services,local",
    peers: Annotated[
        str, typer.Option(help="generate, static-batch, assisted, continuous-batching; all, or none.")
    ] = "all",
    concurrency: Annotated[str, typer.Option(help="Requests at once; several with commas between.")] = "1,4,16,32",
    repetitions: Annotated[int, typer.Option(help="Times everybody takes its turn, fresh requests each time.")] = 5,
    requests: Annotated[
        int, typer.Option(help="Requests of each turn at least; rounded up to whole concurrencies.")
    ] = 4,
    max_tokens: Annotated[
        str,
        typer.Option(help="Tokens of every text: a number, a range such as 32-96, or answer for each question's own."),
    ] = "64",
    draft_length: Annotated[int, typer.Option(help="γ, of assisted generation as well.")] = 4,
    beam_width: Annotated[int, typer.Option(help="Beams a round.")] = 4,
    threshold: options.Threshold = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Where sampled.")] = 10,
    top_p: Annotated[float, typer.Option(help="Where sampled.")] = 0.9,
    seed: Annotated[int, typer.Option(help="Of requests and draws.")] = 0,
    address: Annotated[
        str | None, typer.Option(help="A running stack, host:port. \\[default: one started for the run]")
    ] = None,
    api_key_file: options.ApiKeyFile = None,
    tls_ca: options.TlsCa = None,
    target: options.Target = None,
    draft: options.Draft = None,
    widen: Annotated[
        int, typer.Option(help="Pad the target's feed-forward to this width: the same function at a larger cost.")
    ] = 0,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16, for everybody.")] = "bfloat16",
    compile: options.Compile = False,
    threads: Annotated[int, typer.Option(help="Of each process that runs a model.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder for figures, plots and all that was measured; one there goes on.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Times Tandem and its peers by turns: the same pair, prompts, lengths, numbers and threads for all."""
    _require_extra()
    # Here, not above: the peers' library takes seconds to import.
    from tandem.bench.peers import PEERS, check_peers
    from tandem.bench.plan import Plan
    from tandem.cli.benching import Asked, run
    from tandem.cli.source import Source
    from tandem.engine.loading import DTYPES

    if dtype not in DTYPES:
        raise InvalidArgument(f"dtype {dtype!r} is not known; expected {', '.join(DTYPES)}: the same for everybody")
    if threads < 1:
        raise InvalidArgument(f"threads is {threads}; expected 1 or more")
    chosen = {"all": tuple(PEERS), "none": ()}.get(peers.strip(), _names(peers))
    check_peers(chosen)
    plan = Plan(
        methods=tuple(options.method_names(methods)),
        places=_names(places),  # type: ignore[arg-type]  # checked by Plan
        peers=chosen,
        concurrency=_whole_numbers("concurrency", concurrency),
        repetitions=repetitions,
        requests=requests,
        max_tokens=max_tokens.strip(),
        draft_length=draft_length,
        beam_width=beam_width,
        threshold=threshold,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    if address is not None and "services" not in plan.places:
        raise InvalidArgument("--address names a stack, and --places leaves services out: give one of the two")
    source = Source(address=address, api_key_file=api_key_file, tls_ca=tls_ca)
    asyncio.run(run(Asked(plan, source, target, draft, dtype, threads, compile, widen, out, quiet)))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _whole_numbers(flag: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _names(text))
    except ValueError:
        raise InvalidArgument(f"--{flag} is {text!r}; expected whole numbers with commas between") from None


def _require_extra() -> None:
    """Before anything is measured, rather than after an hour of it."""
    missing = [name for name in ("torch", "scipy", "matplotlib") if find_spec(name) is None]
    if missing:
        raise InvalidArgument(
            f"tandem bench needs {', '.join(missing)}, not installed: pip install 'tandem[engine,eval]'"
        )
