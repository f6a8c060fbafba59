"""One measure of every configuration with its interval, against the baseline's."""

from __future__ import annotations

from collections.abc import Sequence

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.canvas import Drawn, begin_axes
from tandem.evaluation.report.measures import Measure
from tandem.evaluation.report.palette import LIGHT, Look
from tandem.evaluation.report.plots.axes import name_rows, reach, row_height, scale
from tandem.evaluation.report.wording import stated


def forest(rows: Sequence[Figures], measure: Measure, baseline: str, looks: dict[str, Look]) -> Drawn | None:
    """A row a configuration; None where there is nothing to draw."""
    known = measure.known(rows)
    if not known:
        return None
    shown = [row for row, _ in known]
    figure, axes = begin_axes(66 + row_height(len(shown)) * len(shown))
    form = measure.form(rows)
    for index, (row, value) in enumerate(known):
        look = looks[row.label]
        if row.label == baseline and len(known) > 1:
            axes.axvline(value.value, color=LIGHT["axis"], linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
        axes.errorbar([value.value], [index], xerr=reach(value), fmt=look.marker, color=look.colour, markersize=7)
        axes.text(
            1.02,
            index,
            stated(value, form),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=10,
            color=LIGHT["muted"],
        )
    name_rows(axes, shown, looks)
    scale(axes, "x", measure)
    axes.margins(x=0.06)
    caption = "With 95% intervals."
    if len(known) > 1 and any(row.label == baseline for row in shown):
        caption += (
            f" Dashed: {baseline}. Differences are paired by sample, so the table's intervals of them are narrower "
            "than these suggest."
        )
    return Drawn(measure.key, f"{measure.title.capitalize()} by configuration", caption, figure)
