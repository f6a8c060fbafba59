"""``tandem eval``: decoding methods against each other on tasks; with ``compare`` the gate between two runs."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from tandem.cli import options
from tandem.errors import InvalidArgument

app = typer.Typer(help="Evaluates decoding methods: quality, speed and energy, with a report.", add_completion=False)


@app.callback(invoke_without_command=True)
def evaluate(
    context: typer.Context,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME=PATH, may be given again: text-to-sql, spider, humaneval, prompts, mt-bench, "
            "or a task of your own as file.py or module:Class. [default: text-to-sql]"
        ),
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Methods with commas between, or all.")] = None,
    limit: Annotated[int | None, typer.Option(help="Samples of each task. [default: all]")] = None,
    seed: Annotated[int | None, typer.Option(help="First of the seeds. [default: 0]")] = None,
    repetitions: Annotated[
        int | None, typer.Option(help="Times every sample is asked, other seeds. [default: 1]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; one that is there already goes on.")] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment as a TOML file; flags win over it.")] = None,
    draft_length: Annotated[str | None, typer.Option(help="γ; several with commas make a sweep. [default: 4]")] = None,
    beam_width: Annotated[str | None, typer.Option(help="Beams; several make a sweep. [default: 4]")] = None,
    threshold: Annotated[str | None, typer.Option(help="τ; several make a sweep. [default: the method's]")] = None,
    temperature: Annotated[str | None, typer.Option(help="Several make a sweep. [default: 1]")] = None,
    top_k: Annotated[str | None, typer.Option(help="Several make a sweep. [default: 10]")] = None,
    top_p: Annotated[str | None, typer.Option(help="Several make a sweep. [default: 0.9]")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Configuration that others are compared with. [default: autoregressive]")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of an answer. [default: the task's]")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Samples asked at the same time. [default: 8]")] = None,
    trace: Annotated[int | None, typer.Option(help="Samples shown round by round in the report. [default: 8]")] = None,
    scorer: Annotated[
        list[str] | None, typer.Option(help="Scorer of your own, module:function or command:PROGRAM; may be repeated.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Orchestrators to ask, host:port. [default: a Tandem started for the run]")
    ] = None,
    target: options.Target = None,
    draft: options.Draft = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    threads: options.Threads = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Asks every sample by every method and writes answers, figures and a report to a folder."""
    _require_extra()
    if context.invoked_subcommand is not None:
        return
    from tandem.cli.evaluation import run

    given: dict[str, Any] = {
        "task": task or None,
        "methods": None if methods is None else options.method_names(methods),
        "limit": limit,
        "seed": seed,
        "repetitions": repetitions,
        "draft_length": _numbers("draft-length", draft_length),
        "beam_width": _numbers("beam-width", beam_width),
        "threshold": _numbers("threshold", threshold),
        "temperature": _numbers("temperature", temperature),
        "top_k": _numbers("top-k", top_k),
        "top_p": _numbers("top-p", top_p),
        "baseline": baseline,
        "max_tokens": max_tokens,
        "concurrency": concurrency,
        "trace": trace,
        "scorer": scorer or None,
        "address": address,
        "target": target,
        "draft": draft,
        "dtype": dtype,
        "threads": threads,
    }
    if out is None:
        raise InvalidArgument("--out is missing: name a folder for answers, figures and report")
    asyncio.run(run(config, given, out, quiet))


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Computes figures and report of a run anew, also of one that was not finished."""
    from tandem.cli.evaluation import conclude
    from tandem.evaluation.summary import Run

    conclude(Run.load(run))


def _require_extra() -> None:
    """Before anything is asked, rather than after an hour of it."""
    missing = [name for name in ("scipy", "matplotlib", "jinja2") if find_spec(name) is None]
    if missing:
        raise InvalidArgument(f"tandem eval needs {', '.join(missing)}, not installed: pip install 'tandem[eval]'")


def _numbers(flag: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InvalidArgument(f"--{flag} is {text!r}; expected a number, or several with commas between") from None
    return values
