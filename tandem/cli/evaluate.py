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
            "or a task of your own as file.py or module:Class. \\[default: text-to-sql]"
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods with commas between, or all. \\[default: autoregressive,mtad]")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Samples of each task. \\[default: all]")] = None,
    seed: Annotated[int | None, typer.Option(help="First of the seeds. \\[default: 0]")] = None,
    repetitions: Annotated[
        int | None, typer.Option(help="Times every sample is asked, other seeds. \\[default: 1]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; one that is there already goes on.")] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment as a TOML file; flags win over it.")] = None,
    draft_length: Annotated[
        str | None, typer.Option(help="γ; several with commas make a sweep. \\[default: 4]")
    ] = None,
    beam_width: Annotated[str | None, typer.Option(help="Beams; several make a sweep. \\[default: 4]")] = None,
    threshold: Annotated[str | None, typer.Option(help="τ; several make a sweep. \\[default: the method's]")] = None,
    temperature: Annotated[str | None, typer.Option(help="Several make a sweep. \\[default: 1]")] = None,
    top_k: Annotated[str | None, typer.Option(help="Several make a sweep. \\[default: 10]")] = None,
    top_p: Annotated[str | None, typer.Option(help="Several make a sweep. \\[default: 0.9]")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Configuration that others are compared with. \\[default: autoregressive]")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of an answer. \\[default: the task's]")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Samples asked at the same time. \\[default: 8]")] = None,
    trace: Annotated[int | None, typer.Option(help="Samples shown round by round in reports. \\[default: 8]")] = None,
    scorer: Annotated[
        list[str] | None, typer.Option(help="Scorer of your own, module:function or command:PROGRAM; may be repeated.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Orchestrators to ask, host:port. \\[default: a Tandem started for the run]")
    ] = None,
    api_key_file: options.ApiKeyFile = None,
    tls_ca: options.TlsCa = None,
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
        "api_key_file": None if address is None or api_key_file is None else str(api_key_file),
        "tls_ca": None if address is None else tls_ca,
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


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="Folder of the run to hold against.")],
    new: Annotated[Path, typer.Argument(help="Folder of the run in question.")],
    max_perplexity_increase: Annotated[str, typer.Option(help="Of output perplexity; none is no check.")] = "2%",
    max_excess_perplexity_increase: Annotated[
        str, typer.Option(help="Of perplexity - 1: sharper where perplexity is near 1; none is no check.")
    ] = "3%",
    min_accuracy_delta: Annotated[str, typer.Option(help="Of the primary score, in points; none is no check.")] = "-1",
    max_block_efficiency_loss: Annotated[str, typer.Option(help="Of tokens per target pass; none is no check.")] = "5%",
    max_relative_slowdown: Annotated[
        str, typer.Option(help="Of tokens per second over those of the run's own baseline; none is no check.")
    ] = "20%",
    max_slowdown: Annotated[
        str, typer.Option(help="Of tokens per second; tighten it on a machine of your own; none is no check.")
    ] = "50%",
    confidence: Annotated[str, typer.Option(help="How sure a check must be before it fails.")] = "99%",
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail also where there are too few samples to tell.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown here.")] = None,
) -> None:
    """The gate: exits 1 with the reason when NEW is worse than BASE by more than is allowed, beyond noise."""
    from tandem.cli.gate import show, write
    from tandem.evaluation.gate import Limits
    from tandem.evaluation.gate import compare as compare_runs
    from tandem.evaluation.summary import Run

    limits = Limits(
        _share("max-perplexity-increase", max_perplexity_increase),
        _share("max-excess-perplexity-increase", max_excess_perplexity_increase),
        _amount("min-accuracy-delta", min_accuracy_delta),
        _share("max-block-efficiency-loss", max_block_efficiency_loss),
        _share("max-relative-slowdown", max_relative_slowdown),
        _share("max-slowdown", max_slowdown),
        _share("confidence", confidence) or 0.0,
    )
    comparison = compare_runs(Run.load(base), Run.load(new), limits)
    write(comparison, junit, markdown)
    show(comparison)
    if comparison.having("drifted") or (strict and comparison.having("unclear")):
        raise typer.Exit(1)


def _amount(flag: str, text: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise InvalidArgument(f"--{flag} is {text!r}; expected a number, or none") from None


def _share(flag: str, text: str) -> float | None:
    if text.strip().endswith("%"):
        percent = _amount(flag, text.strip().removesuffix("%"))
        return None if percent is None else percent / 100
    return _amount(flag, text)


def _require_extra() -> None:
    """Before anything is asked, rather than after an hour of it."""
    missing = [name for name in ("scipy", "matplotlib") if find_spec(name) is None]
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
