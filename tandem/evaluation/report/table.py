"""The figures of a task as a table, a row a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from tandem.evaluation.figures import Figures, Quantiles
from tandem.evaluation.report.measures import spoken
from tandem.evaluation.report.palette import Look
from tandem.evaluation.report.wording import (
    MISSING,
    NOT_MEASURED,
    PERCENT,
    POINTS,
    TIMES,
    Format,
    count,
    differs,
    fixed,
    interval,
    precise,
    seconds,
)
from tandem.evaluation.statistics import Estimate

Kind = Literal["", "better", "worse", "missing"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, and its interval below it."""

    text: str
    detail: str = ""
    kind: Kind = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of every configuration."""

    group: str
    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration."""

    label: str
    look: Look
    is_baseline: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Columns stand in groups."""

    groups: tuple[tuple[str, int], ...]
    """Name and number of columns."""
    titles: tuple[str, ...]
    starts: tuple[bool, ...]
    """Whether a group begins with this column."""
    rows: tuple[Row, ...]


def table_of(rows: Sequence[Figures], baseline: str, looks: dict[str, Look]) -> Table:
    """Figures of one task."""
    columns = [*_quality(rows), *_drafting(rows), *_speed(rows), *_energy(rows), _failed(rows)]
    groups = tuple((name, len(list(members))) for name, members in groupby(column.group for column in columns))
    starts = tuple(not i or columns[i - 1].group != column.group for i, column in enumerate(columns))
    table_rows = tuple(
        Row(row.label, looks[row.label], row.label == baseline, tuple(column.cells[index] for column in columns))
        for index, row in enumerate(rows)
    )
    return Table(groups, tuple(column.title for column in columns), starts, table_rows)


def _figure(figure: Estimate | None, form: Format) -> Cell:
    if figure is None or form(figure.value) == MISSING:
        return Cell(MISSING, kind="missing")
    return Cell(form(figure.value), interval(figure, form))


def _change(figure: Estimate | None, form: Format, more_is_better: bool, neutral: float = 0.0) -> Cell:
    """A difference from the baseline, marked where it is beyond noise."""
    cell = _figure(figure, form)
    sign = 0 if figure is None else differs(figure, neutral)
    if not sign:
        return cell
    return replace(cell, kind="better" if (sign > 0) == more_is_better else "worse")


def _each(group: str, title: str, rows: Sequence[Figures], cell: Callable[[Figures], Cell]) -> Column:
    return Column(group, title, tuple(cell(row) for row in rows))


def _quality(rows: Sequence[Figures]) -> list[Column]:
    group, primary = "Quality", rows[0].primary
    compared = [row.versus_baseline for row in rows]
    columns = []
    if primary:
        columns.append(_each(group, spoken(primary), rows, lambda row: _figure(row.accuracy, PERCENT)))
        if any(compared):
            changes = [versus.scores.get(primary) if versus else None for versus in compared]
            cells = tuple(_change(change, POINTS, more_is_better=True) for change in changes)
            columns.append(Column(group, "− baseline, points", cells))
    others = dict.fromkeys(name for row in rows for name in row.scores if name != primary)
    for name in others:
        figures = [row.scores.get(name) for row in rows]
        form = precise(figures)
        columns.append(Column(group, spoken(name), tuple(_figure(figure, form) for figure in figures)))
    form = precise(row.output_perplexity for row in rows)
    columns.append(_each(group, "perplexity", rows, lambda row: _figure(row.output_perplexity, form)))
    if any(compared):
        differences = [versus.output_perplexity if versus else None for versus in compared]
        signed = precise(differences, sign=True)
        cells = tuple(_change(difference, signed, more_is_better=False) for difference in differences)
        columns.append(Column(group, "PPL − baseline", cells))
        same = [Cell(fixed(0, scale=100, unit="%")(v.same_answers)) if v else Cell(MISSING) for v in compared]
        columns.append(Column(group, "same answers", tuple(same)))
    return columns


def _drafting(rows: Sequence[Figures]) -> list[Column]:
    def length(row: Figures) -> Cell:
        mean = row.mean_acceptance_length
        return Cell(MISSING, kind="missing") if mean is None else Cell(fixed(2)(mean))

    return [
        _each("Drafting", "block efficiency", rows, lambda row: _figure(row.block_efficiency, fixed(2))),
        _each("Drafting", "acceptance rate", rows, lambda row: _figure(row.acceptance_rate, PERCENT)),
        _each("Drafting", "mean accept. length", rows, length),
    ]


def _speed(rows: Sequence[Figures]) -> list[Column]:
    def latency(quantiles: Quantiles | None) -> Cell:
        if quantiles is None:
            return Cell(MISSING, kind="missing")
        return Cell(seconds(quantiles.p50), f"p95 {seconds(quantiles.p95)}")

    columns = [_each("Speed", "tokens/s", rows, lambda row: _figure(row.tokens_per_second, fixed(0)))]
    if any(row.versus_baseline for row in rows):
        ratios = [row.versus_baseline.tokens_per_second_ratio if row.versus_baseline else None for row in rows]
        cells = tuple(_change(ratio, TIMES, more_is_better=True, neutral=1.0) for ratio in ratios)
        columns.append(Column("Speed", "÷ baseline", cells))
    columns.append(_each("Speed", "TTFT p50", rows, lambda row: latency(row.time_to_first_token_seconds)))
    columns.append(_each("Speed", "TPOT p50", rows, lambda row: latency(row.time_per_output_token_seconds)))
    return columns


def _energy(rows: Sequence[Figures]) -> list[Column]:
    def joules(value: float | None) -> Cell:
        return Cell(NOT_MEASURED, kind="missing") if value is None else Cell(fixed(3)(value))

    return [
        _each("J/token", "draft", rows, lambda row: joules(row.draft_joules_per_token)),
        _each("J/token", "verify", rows, lambda row: joules(row.verify_joules_per_token)),
    ]


def _failed(rows: Sequence[Figures]) -> Column:
    def failed(row: Figures) -> Cell:
        of = f"of {count(row.num_samples, 'answer')}"
        return Cell(f"{row.num_failed}", of, "worse" if row.num_failed else "")

    return _each("Answers", "failed", rows, failed)
