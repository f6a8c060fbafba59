"""The sections of plots of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.canvas import Drawn, Plot, publish
from tandem.evaluation.report.measures import PERPLEXITY, primary
from tandem.evaluation.report.palette import Look
from tandem.evaluation.report.plots.acceptance import by_position, histograms
from tandem.evaluation.report.plots.costs import energy, stages
from tandem.evaluation.report.plots.forest import forest
from tandem.evaluation.report.plots.sweep import panels, sweeps
from tandem.evaluation.report.plots.tradeoff import tradeoff
from tandem.evaluation.report.wording import slug


@dataclass(frozen=True, slots=True)
class Section:
    """Plots under a heading, and sentences in the place of those there is nothing to draw for."""

    title: str
    name: str
    plots: list[Plot]
    notes: list[str]
    is_series: bool = False
    """The plots stand in one row where there is room: they share an axis."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A plot, or the sentence in its place."""

    drawn: Drawn | None
    otherwise: str


def sections_of(
    rows: Sequence[Figures], baseline: str, looks: dict[str, Look], folder: Path, prefix: str
) -> list[Section]:
    """Draws everything about a task; files go to ``folder``, their names begin with ``prefix``."""
    measures = [*([score] if (score := primary(rows)) else []), PERPLEXITY]
    nothing = "Nothing was answered, so there is nothing to draw."
    speed = [_Piece(tradeoff(rows, measure, baseline, looks), nothing) for measure in measures]
    quality = [_Piece(forest(rows, measure, baseline, looks), nothing) for measure in measures]
    undrafted = "No configuration drafted anything, so there is no acceptance to show."
    acceptance = [_Piece(histograms(rows, looks), undrafted), _Piece(by_position(rows, looks), undrafted)]
    cost = [
        _Piece(stages(rows, looks), "No sample was traced, so the time by stage of a round is not known."),
        _Piece(
            energy(rows, looks),
            "Energy was not measured: no hardware energy counter could be read where the models ran.",
        ),
    ]
    groups = [
        ("Quality against speed", "speed", speed),
        ("Quality", "quality", quality),
        ("Acceptance", "acceptance", acceptance),
        ("Time and energy", "cost", cost),
    ]
    found = [_section(title, name, pieces, folder, prefix) for title, name, pieces in groups]
    base = next((row for row in rows if row.label == baseline), None)
    for sweep in sweeps(rows):
        pieces = [_Piece(drawn, "") for drawn in panels(sweep, base)]
        if pieces:
            name = slug(f"{sweep.method} {sweep.dial}")
            found.append(replace(_section(sweep.title, name, pieces, folder, prefix), is_series=True))
    return found


def _section(title: str, name: str, pieces: Sequence[_Piece], folder: Path, prefix: str) -> Section:
    plots = [publish(piece.drawn, folder, prefix) for piece in pieces if piece.drawn]
    notes = list(dict.fromkeys(piece.otherwise for piece in pieces if not piece.drawn))
    return Section(title, f"{prefix}-{name}", plots, notes)
