"""What ``tandem bench`` does: progress while it runs, tables and plots when it is done."""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tandem.bench import records, report
from tandem.bench.benchmark import Served, benchmark, names_of_ours, running, started
from tandem.bench.figures import Measured, Spread
from tandem.bench.pair import Pair, prepared
from tandem.bench.plan import Plan
from tandem.bench.run_folder import open_run
from tandem.bench.stages import OUTSIDE, PERIOD
from tandem.cli.source import Source
from tandem.client import AsyncClient
from tandem.client.access import key_of
from tandem.decoding.methods import METHODS
from tandem.errors import Unavailable
from tandem.evaluation.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line."""

    plan: Plan
    source: Source
    target: str | None
    draft: str | None
    dtype: str
    threads: int
    compile: bool
    widen: int
    out: Path | None
    quiet: bool


async def run(asked: Asked) -> None:
    """Runs a benchmark, or what is left of it.

    Raises:
        TandemError: it cannot be run, or somebody does not answer; what was measured stays.
    """
    with ExitStack() as held:
        folder = asked.out or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="tandem-bench-")))
        pair = held.enter_context(
            prepared(asked.target, asked.draft, asked.dtype, asked.threads, asked.widen, asked.compile)
        )
        console = Console(stderr=True, quiet=asked.quiet)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        progress = held.enter_context(Progress(*columns, TimeRemainingColumn(), console=console))
        bar = progress.add_task("starting", total=None)
        async with AsyncExitStack() as serving:
            served = await _served(asked, pair, serving, console)
            config = open_run(folder, asked.plan, pair, asked.source.address, asked.widen)
            try:
                await benchmark(
                    asked.plan,
                    pair,
                    served,
                    folder,
                    lambda what, done, total: progress.update(bar, description=what, completed=done, total=total),
                )
            except Unavailable as error:
                kept = f"What was measured is in {folder}; the same command goes on from there" if asked.out else ""
                raise Unavailable(f"{error}. {kept}") from error
        progress.stop()
        conclude(folder, config, asked.plan, keep=asked.out is not None)


async def _served(asked: Asked, pair: Pair, serving: AsyncExitStack, console: Console) -> Served | None:
    if "services" not in asked.plan.places:
        return None
    source = asked.source
    if source.address is None:
        return await serving.enter_async_context(started(pair, lambda line: console.print(line, style="yellow")))
    client = AsyncClient(source.address, api_key=key_of(source.api_key_file), tls_ca=source.tls_ca)
    return await serving.enter_async_context(running(client, pair))


def conclude(folder: Path, config: dict[str, Any], plan: Plan, *, keep: bool) -> None:
    """Prints the figures of a run and, where its folder is kept, writes them beside what was measured."""
    measured = Measured(records.read(folder))
    ours = names_of_ours(plan)
    console = Console()
    console.print(speed_table(measured, ours))
    console.print(latency_table(measured))
    if rounds := rounds_table(measured):
        console.print(rounds)
    for agreement in measured.agreements():
        if plan.temperature == 0 and METHODS[plan.methods[0]].lossless:
            console.print(f"{agreement.contender}: {agreement.share:.1%} of texts are those of {agreement.first}")
    for role, sizes in report.resident(measured).items():
        console.print(f"{role}: {sizes[0] / 2**20:.0f} MiB resident at first, {sizes[-1] / 2**20:.0f} MiB at last")
    if keep:
        from tandem.bench.plots import write_plots  # imports matplotlib

        path = report.write(folder, report.document(config, measured, ours))
        plots = write_plots(folder, measured)
        console.print(f"figures: {path}, plots: {', '.join(map(str, plots))}", highlight=False, soft_wrap=True)


def speed_table(measured: Measured, ours: list[str]) -> Table:
    """Tokens per second, a row for each contender at each concurrency."""
    first = next(name for name in ours if name in measured.contenders)
    table = _table(f"Tokens per second with 95% intervals; {first} over each, and each over itself alone")
    for heading in ("at once", "contender", "tokens/s", f"{first} over it", "over alone"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "contender" else "right")
    for row in measured.figures():
        over = measured.ratio(first, row.concurrency, row.contender, row.concurrency)
        alone = measured.ratio(row.contender, row.concurrency, row.contender, 1)
        table.add_row(
            str(row.concurrency),
            row.contender,
            _estimate(row.tokens_per_second, 0),
            "" if row.contender == first else _estimate(over, 2),
            "" if row.concurrency == 1 else _estimate(alone, 2),
        )
    return table


def latency_table(measured: Measured) -> Table:
    """Milliseconds, a row for each contender at each concurrency."""
    table = _table("ms to the first token, a token after it, and between arrivals")
    for heading in (
        "at once",
        "contender",
        "first p50",
        "p95",
        "p99",
        "token p50",
        "p95",
        "p99",
        "gap p50",
        "p95",
        "p99",
    ):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "contender" else "right")
    for row in measured.figures():
        spreads = (row.time_to_first_token, row.time_per_output_token, row.inter_token)
        table.add_row(str(row.concurrency), row.contender, *(cell for spread in spreads for cell in _ms(spread)))
    return table


def rounds_table(measured: Measured) -> Table | None:
    """Where the time of a round goes, a row for each stage; None where no round was traced."""
    rounds = measured.rounds()
    if not rounds:
        return None
    table = _table("Of a traced round, ms: p50 and p95")
    table.add_column("stage")
    for each in rounds:
        table.add_column(f"{each.concurrency} at once\n{each.num_rounds} rounds", justify="right", no_wrap=True)
    for name in rounds[0].stages:
        label = {PERIOD: "whole round", OUTSIDE: "outside the two models"}.get(name, name)
        table.add_row(label, *("  ".join(_ms(each.stages.get(name))[:2]) for each in rounds))
    return table


def _table(title: str) -> Table:
    return Table(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1), title=title, title_justify="left"
    )


def _estimate(figure: Estimate | None, digits: int) -> str:
    if figure is None:
        return ""
    text = f"{figure.value:.{digits}f}"
    return text if figure.low is None else f"{text} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def _ms(spread: Spread | None) -> tuple[str, str, str]:
    """The percentiles, in milliseconds with as many digits as matter."""
    if spread is None:
        return "–", "–", "–"
    return _digits(spread.p50), _digits(spread.p95), _digits(spread.p99)


def _digits(seconds: float) -> str:
    return f"{1e3 * seconds:.2f}" if seconds < 0.1 else f"{1e3 * seconds:.0f}"
