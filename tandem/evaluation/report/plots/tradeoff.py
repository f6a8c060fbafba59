"""Quality against speed, with what no other configuration beats in both."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.canvas import MUTED, Drawn, begin_axes
from tandem.evaluation.report.measures import SPEED, Measure
from tandem.evaluation.report.palette import LIGHT, Look, is_one_each
from tandem.evaluation.report.pareto import front
from tandem.evaluation.report.placing import Labelled, place
from tandem.evaluation.report.plots.axes import bounds, reach, scale
from tandem.evaluation.statistics import Estimate

_HEIGHT = 330
_MOST_NAMED = 8
_FAINT = 0.2  # bars of many, of which those that matter should be seen
_Point = tuple[Figures, Estimate, Estimate]


def tradeoff(rows: Sequence[Figures], measure: Measure, baseline: str, looks: dict[str, Look]) -> Drawn | None:
    """A measure against tokens per second; None where there is nothing to draw."""
    quality = {row.label: figure for row, figure in measure.known(rows)}
    points = [(row, speed, quality[row.label]) for row, speed in SPEED.known(rows) if row.label in quality]
    if not points:
        return None
    figure, axes = begin_axes(_HEIGHT + (0 if is_one_each(rows) else 24))
    crowded = len(points) > _MOST_NAMED
    sign = 1 if measure.more_is_better else -1
    best = [points[index] for index in front([(speed.value, sign * value.value) for _, speed, value in points])]
    stressed = {row.label for row, _, _ in best} | {baseline}
    for row, speed, value in points:
        look = looks[row.label]
        is_stressed = not crowded or row.label in stressed
        _, _, bars = axes.errorbar(
            [speed.value],
            [value.value],
            xerr=reach(speed),
            yerr=reach(value),
            fmt=look.marker,
            color=look.colour,
            markersize=6 if crowded else 8,
            elinewidth=1.3,
            zorder=3 if is_stressed else 2,
        )
        for bar in bars:
            bar.set_alpha(1.0 if is_stressed else _FAINT)
    _mark_front(axes, best)
    scale(axes, "x", SPEED)
    scale(axes, "y", measure)
    axes.margins(0.12)
    if not is_one_each(rows):
        _legend(axes, rows, looks)
    _name(axes, points, best, baseline)
    better = "up and to the right" if measure.more_is_better else "down and to the right"
    caption = (
        f"Better is {better}. Ringed: the Pareto front, which no other configuration beats in both; it is that of the "
        "points alone, so where bars overlap its order is not certain."
    )
    if crowded:
        caption += " Named are the front, the baseline, and others where there is room; the table has all."
    if all(speed.low is None for _, speed, _ in points):
        caption += " Speed has no interval: it is measured over blocks of samples, and there were too few."
    return Drawn(f"speed-{measure.key}", f"{measure.title.capitalize()} against speed", caption, figure)


def _mark_front(axes: Axes, best: Sequence[_Point]) -> None:
    x = [speed.value for _, speed, _ in best]
    y = [value.value for _, _, value in best]
    axes.plot(x, y, color=LIGHT["axis"], linewidth=1.1, linestyle=(0, (4, 3)), zorder=1)
    axes.plot(x, y, "o", markersize=14, markerfacecolor="none", markeredgecolor=LIGHT["ink"], markeredgewidth=1)


def _name(axes: Axes, points: Sequence[_Point], best: Sequence[_Point], baseline: str) -> None:
    needed = {row.label for row, _, _ in best} | {baseline}
    if len(points) <= _MOST_NAMED:
        needed |= {row.label for row, _, _ in points}
    labelled = [
        Labelled(row.label, speed.value, value.value, bounds(speed), bounds(value), row.label in needed)
        for row, speed, value in points
    ]
    place(axes, labelled, sorted(labelled, key=lambda label: not label.is_needed))


def _legend(axes: Axes, rows: Sequence[Figures], looks: dict[str, Look]) -> None:
    """Of methods: with a colour each, the points' own names say which is which."""
    names = {looks[row.label]: str(row.configuration["method"]) for row in rows}
    handles = [
        Line2D([], [], linestyle="none", marker=look.marker, color=look.colour, label=name)
        for look, name in names.items()
    ]
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(handles=handles, loc="outside lower center", ncols=4, labelcolor=MUTED)
