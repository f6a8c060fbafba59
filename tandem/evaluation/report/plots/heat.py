"""Shares as a shaded table: what bars and lines become when there are too many configurations for them."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tandem.evaluation.report.canvas import begin_axes
from tandem.evaluation.report.palette import LIGHT

_DARKEST = 0.55  # numbers stay readable on it, in the light form and in the dark one
_MOST_NUMBERED = 13


def heat(labels: Sequence[str], shares: Sequence[Sequence[float]], first: int, axis: str) -> Figure:
    """A row a label, a column a number from ``first``; the share in percent in each cell where there is room."""
    num_columns = max(map(len, shares))
    figure, axes = begin_axes(54 + 17 * len(labels))
    for row, own in enumerate(shares):
        for column, share in enumerate(own):
            corner = (first + column - 0.5, row - 0.5)
            axes.add_patch(
                Rectangle(corner, 1, 1, facecolor=LIGHT["forward"], alpha=_DARKEST * share, edgecolor="none")
            )
            if num_columns <= _MOST_NUMBERED:
                axes.text(first + column, row, f"{share:.0%}", ha="center", va="center", fontsize=9)
    axes.set_xlim(first - 0.5, first + num_columns - 0.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels, color=LIGHT["ink"], fontsize=9.5)
    axes.set_xticks(range(first, first + num_columns, 1 if num_columns <= _MOST_NUMBERED else 4))
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(axis)
    return figure
