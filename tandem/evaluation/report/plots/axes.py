"""What several kinds of plots do to their axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.measures import Measure
from tandem.evaluation.report.palette import Look
from tandem.evaluation.statistics import Estimate


def bounds(figure: Estimate) -> tuple[float, float]:
    """Of its interval, or the value twice where it has none."""
    if figure.low is None or figure.high is None:
        return figure.value, figure.value
    return figure.low, figure.high


def reach(figure: Estimate) -> tuple[list[float], list[float]]:
    """How far the interval goes below and above the value, as error bars want it."""
    low, high = bounds(figure)
    return [max(0.0, figure.value - low)], [max(0.0, high - figure.value)]


def scale(axes: Axes, which: Literal["x", "y"], measure: Measure) -> None:
    """Ticks and name of an axis that shows a measure."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0) if measure.is_share else FuncFormatter(_plain))
    axis.set_label_text(measure.axis)


def _plain(value: float, _: int | None = None) -> str:
    """As few digits as tell ticks apart."""
    return f"{value:,.6g}".replace("-", "−")


def name_rows(axes: Axes, rows: Sequence[Figures], looks: dict[str, Look]) -> None:
    """Configurations from top to bottom, each with its marker's colour beside the name."""
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")
    for tick in axes.get_yticklabels():
        tick.set_color(axes.xaxis.label.get_color())
    axes.spines["bottom"].set_visible(True)


def row_height(num_rows: int) -> float:
    """Rows come closer the more there are, down to what is still legible."""
    return max(17.0, min(26.0, 400 / max(1, num_rows)))
