"""How much of the drafts was accepted: by round, and by position in the draft."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.canvas import Drawn, begin, begin_axes
from tandem.evaluation.report.palette import LIGHT, Look, is_one_each
from tandem.evaluation.report.plots.heat import heat

_COLUMNS = 3
_END_GAP = 15  # of names at the ends of lines, in the plot's units
_HEIGHT = 250


def drafted(rows: Sequence[Figures]) -> list[Figures]:
    """Those in which something was drafted."""
    return [row for row in rows if sum(row.acceptance_histogram)]


def histograms(rows: Sequence[Figures], looks: dict[str, Look]) -> Drawn | None:
    """Rounds by accepted length; None where nothing was drafted."""
    shown = drafted(rows)
    if not shown:
        return None
    title = "Accepted length"
    caption = "Share of rounds by how many drafted tokens they kept; the target adds one more in each."
    shares = [[count / sum(row.acceptance_histogram) for count in row.acceptance_histogram] for row in shown]
    if not is_one_each(shown):
        figure = heat([row.label for row in shown], shares, first=0, axis="drafted tokens kept in a round")
        return Drawn("accepted-length", title, caption, figure)
    num_columns = min(_COLUMNS, len(shown)) if len(shown) != 4 else 2
    num_rows = math.ceil(len(shown) / num_columns)
    figure = begin(34 + (160 if num_rows == 1 else 128) * num_rows)
    grid = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True)
    for index, axes in enumerate(grid.flat):
        if index >= len(shown):
            axes.remove()
            continue
        row = shown[index]
        axes.bar(range(len(shares[index])), shares[index], color=looks[row.label].colour, width=0.78)
        axes.set_title(row.label)
        axes.grid(False, axis="x")
        axes.tick_params(axis="x", length=0, labelbottom=index + num_columns >= len(shown))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.supxlabel("drafted tokens kept in a round", fontsize=11)
    return Drawn("accepted-length", title, caption, figure)


def by_position(rows: Sequence[Figures], looks: dict[str, Look]) -> Drawn | None:
    """Share of rounds that kept the token at each position; None where nothing was drafted."""
    shown = drafted(rows)
    if not shown:
        return None
    title = "Acceptance by position"
    caption = "Share of rounds that kept the token drafted at each position, and so all those before it."
    shares = [row.acceptance_by_position for row in shown]
    if not is_one_each(shown):
        figure = heat([row.label for row in shown], shares, first=1, axis="position in the draft")
        return Drawn("acceptance-by-position", title, caption, figure)
    figure, axes = begin_axes(_HEIGHT)
    for row, share in zip(shown, shares, strict=True):
        look = looks[row.label]
        axes.plot(range(1, 1 + len(share)), share, marker=look.marker, markersize=6, color=look.colour)
    axes.set_xlabel("position in the draft")
    axes.set_ylabel("rounds that kept it")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, 1.04)
    _name_ends(axes, [(row.label, len(share), share[-1]) for row, share in zip(shown, shares, strict=True)])
    return Drawn("acceptance-by-position", title, caption, figure)


def _name_ends(axes: Axes, ends: Sequence[tuple[str, int, float]]) -> None:
    """Names the lines right of them, one below the other where they end close together."""
    unit = 1.04 / (_HEIGHT - 60)
    ordered = sorted(ends, key=lambda end: -end[2])
    heights: list[float] = []
    for _, _, y in ordered:
        heights.append(min(y, heights[-1] - _END_GAP * unit) if heights else y)
    lift = max(0.0, 0.01 - heights[-1])  # all of them, where the last would fall below the axis
    right = max(x for _, x, _ in ends)
    for (label, x, y), height in zip(ordered, heights, strict=True):
        axes.annotate(
            label,
            (x, y),
            (right + max(0.14, 0.05 * right), height + lift),
            va="center",
            fontsize=10.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": LIGHT["axis"], "linewidth": 0.7, "shrinkB": 5},
        )
