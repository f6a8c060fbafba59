"""Writes the report: sections of every task, their plots, and the page around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from tandem.evaluation.report import canvas
from tandem.evaluation.report.facts import asked, facts_of
from tandem.evaluation.report.headline import Sentence, headline
from tandem.evaluation.report.inlining import FONTS
from tandem.evaluation.report.palette import DARK, LIGHT, looks
from tandem.evaluation.report.samples import MOST_TRACED, ShownSample, shown_samples
from tandem.evaluation.report.sections import Section, sections_of
from tandem.evaluation.report.table import Table, table_of
from tandem.evaluation.report.wording import slug
from tandem.evaluation.summary import Run, Summary

FILE_NAME = "report.html"
PLOTS_NAME = "plots"


@dataclass(frozen=True, slots=True)
class TaskPart:
    """A task on the page."""

    name: str
    anchor: str
    asked: str
    num_failed: int
    headline: list[Sentence]
    table: Table
    sections: list[Section]
    samples: list[ShownSample]


def write_report(run: Run, summary: Summary) -> Path:
    """Writes ``report.html`` and ``plots/`` into the run's folder, and returns the report's path.

    The same run gives the same bytes.
    """
    plots = run.folder / PLOTS_NAME
    plots.mkdir(exist_ok=True)
    anchors = _anchors(summary.tasks)
    with canvas.style():
        tasks = [_part(run, summary, task, anchors[task], plots) for task in summary.tasks]
    environment = Environment(
        loader=PackageLoader("tandem.evaluation.report"),
        autoescape=True,  # questions, answers and names are anybody's
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.jinja").render(
        tasks=tasks,
        facts=facts_of(run, summary),
        baseline=summary.baseline,
        light=LIGHT,
        dark=DARK,
        fonts=FONTS,
        plots_name=PLOTS_NAME,
        most_traced=MOST_TRACED,
    )
    path = run.folder / FILE_NAME
    partial = path.with_suffix(".part")
    partial.write_text(html, encoding="utf-8")
    partial.replace(path)
    return path


def _part(run: Run, summary: Summary, task: str, anchor: str, plots: Path) -> TaskPart:
    rows = summary.of_task(task)
    own_looks = looks(run.experiment.labelled(), summary.baseline)
    return TaskPart(
        name=task,
        anchor=anchor,
        asked=asked(rows, run.experiment.repetitions),
        num_failed=sum(row.num_failed for row in rows),
        headline=headline(rows, summary.baseline),
        table=table_of(rows, summary.baseline, own_looks),
        sections=sections_of(rows, summary.baseline, own_looks, plots, anchor),
        samples=shown_samples(run, task, own_looks),
    )


def _anchors(tasks: Sequence[str]) -> dict[str, str]:
    """Of each task a name that is safe in a file's name and an id, and its own."""
    found: dict[str, str] = {}
    for task in tasks:
        anchor, number = slug(task), 1
        while anchor in found.values():
            number += 1
            anchor = f"{slug(task)}-{number}"
        found[task] = anchor
    return found
