"""What ``tandem eval`` does: progress while it runs, a table and a report when it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tandem.cli.generate import token_text_of
from tandem.errors import InvalidArgument, Unavailable
from tandem.evaluation.evaluation import client_of, evaluate, served
from tandem.evaluation.experiment import Experiment
from tandem.evaluation.figures import Figures
from tandem.evaluation.report import write_report
from tandem.evaluation.runner import Work
from tandem.evaluation.scorer import load_scorer
from tandem.evaluation.statistics import Estimate
from tandem.evaluation.summary import Run, Summary
from tandem.evaluation.tasks import load_task


class Shown:
    """A progress bar of an evaluation; also where lines for a person go while it runs."""

    def __init__(self, experiment: Experiment, works: Sequence[Work], console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._console = console
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console)
        total = sum(len(work.samples) for work in works) * experiment.repetitions * len(experiment.labelled())
        doing = "starting Tandem" if experiment.address is None else f"connecting to {experiment.address}"
        self._bar = self._progress.add_task(doing, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leaves the bar as it stands. Safe to repeat."""
        self._progress.stop()

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._console.print(line, style="yellow", highlight=False, markup=False)

    def advance(self, task: str, label: str, count: int) -> None:
        """So many answers more."""
        self._progress.update(self._bar, advance=count, description=f"{task}: {label}")


async def run(config: Path | None, given: Mapping[str, Any], out: Path, quiet: bool) -> None:
    """Runs an experiment, or what is left of it.

    Raises:
        TandemError: the experiment cannot be run, or nobody answers any more; what was recorded stays.
    """
    experiment = Experiment.load(config, given)
    target = experiment.target if experiment.address is None else await _target_of(experiment)
    tasks = [load_task(spec, model=target) for spec in experiment.task]
    works = [Work(task, task.samples(experiment.limit)) for task in tasks]
    for work in works:
        if not work.samples:
            raise InvalidArgument(f"the task {work.task.name} has no samples; expected one at least")
    with ExitStack() as held:
        scorers = [held.enter_context(closing(load_scorer(spec))) for spec in experiment.scorer]
        shown = held.enter_context(Shown(experiment, works, Console(stderr=True, quiet=quiet)))
        async with served(experiment, shown.say) as client:
            try:
                found = await evaluate(experiment, works, client, out, token_text_of(target), scorers, shown.advance)
            except Unavailable as error:
                raise Unavailable(
                    f"{error}. What was answered is in {out}; the same command goes on from there"
                ) from error
    conclude(found)


async def _target_of(experiment: Experiment) -> str:
    async with client_of(experiment) as client:
        return (await client.describe()).model


def conclude(found: Run) -> None:
    """Writes figures and report of a run, and prints the figures."""
    summary = found.summary()
    summary.write(found.folder)
    path = write_report(found, summary)
    console = Console()
    for task in summary.tasks:
        console.print(table_of(summary, task))
    console.print(f"report: {path}", highlight=False, soft_wrap=True)


def table_of(summary: Summary, task: str) -> Table:
    """A task's figures, a row a configuration; ± is half the width of the 95% interval."""
    figures = summary.of_task(task)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1))
    table.title, table.title_justify = f"{task}: {figures[0].num_samples} answers each, ± half the 95% interval", "left"
    table.add_column("configuration", no_wrap=True)
    primary = figures[0].primary
    names = [primary.replace("_", "\n")] if primary else []
    for heading in (*names, "perplexity", "tokens\na pass", "accep-\ntance", "tokens/s", "J/token"):
        table.add_column(heading, justify="right", no_wrap=True)
    if all(row.joules_per_token is None for row in figures):
        table.caption, table.caption_justify = "J/token: not measured, there is no energy counter", "left"
    for row in figures:
        table.add_row(row.label, *([_percent(row.accuracy)] if row.primary else []), *_costs(row))
    return table


def _costs(row: Figures) -> tuple[str, ...]:
    return (
        _number(row.output_perplexity, 4),
        f"{row.block_efficiency.value:.2f}",
        "–" if row.acceptance_rate is None else f"{row.acceptance_rate.value:.1%}",
        _number(row.tokens_per_second, 0),
        "–" if row.joules_per_token is None else f"{row.joules_per_token:.3f}",
    )


def _percent(figure: Estimate | None) -> str:
    if figure is None:
        return "–"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1%}"
    return f"{figure.value:.1%} ±{50 * (figure.high - figure.low):.1f}"


def _number(figure: Estimate, digits: int) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} ±{(figure.high - figure.low) / 2:.{digits}f}"
