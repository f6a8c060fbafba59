"""Figures without pyplot: how they are begun, and how they are written."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tandem.evaluation.report.inlining import cleaned, inlined
from tandem.evaluation.report.palette import LIGHT
from tandem.evaluation.report.wording import slug

WIDTH = 420
"""Of a plot, in its own units: pixels on a page of that width. Small enough to be read on a telephone."""
INK, MUTED, PAPER = LIGHT["ink"], LIGHT["muted"], LIGHT["paper"]
_PNG_DPI = 216

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tandem",  # ids by content: one run, one file
    "text.parse_math": False,  # names of scores are anybody's, and a dollar is a dollar
    "font.family": "DejaVu Sans",  # comes with matplotlib; broader than what browsers use, so texts have room
    "text.hinting": "none",  # hinted widths are those of one size of pixels, and browsers draw at any
    "font.size": 11,
    "axes.labelsize": 11,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": LIGHT["axis"],
    "ytick.color": LIGHT["axis"],
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.edgecolor": LIGHT["axis"],
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.8,
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure before it is written."""

    name: str
    """Of its files, and unlike any other plot's of the task."""
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure on the page."""

    title: str
    caption: str
    svg: Markup


def style() -> AbstractContextManager[None]:
    """In which figures are begun and written."""
    return matplotlib.rc_context(_STYLE)


def begin(height: float, width: float = WIDTH) -> Figure:
    """An empty figure that can measure its texts."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def begin_axes(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure = begin(height, width)
    return figure, figure.subplots()


def publish(drawn: Drawn, folder: Path, prefix: str) -> Plot:
    """Writes a figure as PNG and SVG, their names beginning with ``prefix``, and returns it for the page."""
    for _ in range(2):  # room for texts beside the axes depends on where the first pass puts them
        drawn.figure.draw_without_rendering()
    drawn.figure.set_layout_engine("none")  # it is laid out now, and would be again for either file
    buffer = io.StringIO()
    drawn.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = cleaned(buffer.getvalue())
    stem = f"{prefix}-{slug(drawn.name)}"
    (folder / f"{stem}.svg").write_text(svg, encoding="utf-8")
    drawn.figure.savefig(folder / f"{stem}.png", format="png", dpi=_PNG_DPI, metadata={"Software": None})
    return Plot(drawn.title, drawn.caption, inlined(svg, stem, drawn.title))
