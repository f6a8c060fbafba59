"""Plots of a run: throughput and latency over concurrency, and where the time of a round goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from tandem.bench.figures import Figures, Measured, Rounds
from tandem.bench.stages import OUTSIDE, PERIOD
from tandem.evaluation.report.canvas import Drawn, begin, begin_axes, publish, style
from tandem.evaluation.report.palette import LIGHT, MARKERS, SERIES

Curve = Callable[[Figures], tuple[float, float, float] | None]
"""What of a figure is drawn, and the ends of its interval; None where there is nothing."""

_MS = 1e3


def write_plots(folder: Path, measured: Measured) -> list[Path]:
    """Writes each plot as SVG and PNG beside the figures, and returns the PNGs' paths."""
    paths = []
    with style():
        for drawn in (_speed(measured), _rounds(measured.rounds())):
            if drawn is not None:
                publish(drawn, folder, "bench")
                paths.append(folder / f"bench-{drawn.name}.png")
    return paths


def _speed(measured: Measured) -> Drawn:
    figure = begin(310, 960)
    left, middle, right = figure.subplots(1, 3)
    _curves(left, measured, "tokens/s", _throughput)
    _curves(middle, measured, "ms to the first token (p50)", _first_token)
    _curves(right, measured, "ms a token after it (p50)", _per_token)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))
    return Drawn("speed", "Throughput and latency", "", figure)


def _throughput(row: Figures) -> tuple[float, float, float]:
    figure = row.tokens_per_second
    return figure.value, figure.value if figure.low is None else figure.low, figure.high or figure.value


def _first_token(row: Figures) -> tuple[float, float, float] | None:
    spread = row.time_to_first_token
    return None if spread is None else (_MS * spread.p50,) * 3


def _per_token(row: Figures) -> tuple[float, float, float] | None:
    spread = row.time_per_output_token
    return None if spread is None else (_MS * spread.p50,) * 3


def _curves(axes: Axes, measured: Measured, name: str, curve: Curve) -> None:
    rows = measured.figures()
    for index, contender in enumerate(measured.contenders):
        points = [(row.concurrency, found) for row in rows if row.contender == contender and (found := curve(row))]
        values = [value for _, (value, _, _) in points]
        reach = [[v - low for _, (v, low, _) in points], [high - v for _, (v, _, high) in points]]
        axes.errorbar(
            [level for level, _ in points],
            values,
            yerr=reach,
            label=contender,
            color=SERIES[(index + 1) % len(SERIES)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            capsize=2,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(measured.levels, [str(level) for level in measured.levels])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("requests at once")
    axes.set_title(name)


def _rounds(rounds: Sequence[Rounds]) -> Drawn | None:
    if not rounds:
        return None
    names = [name for name in rounds[0].stages if name not in (PERIOD, OUTSIDE)]
    figure, axes = begin_axes(100 + 26 * len(rounds), 640)
    ends = [0.0] * len(rounds)
    for name in names:
        widths = [_MS * each.stages[name].p50 for each in rounds]
        colour = LIGHT[name]
        axes.barh(
            range(len(rounds)), widths, left=ends, height=0.66, color=colour, edgecolor=LIGHT["paper"], label=name
        )
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    whole = [_MS * each.stages[PERIOD].p50 for each in rounds]
    axes.plot(whole, range(len(rounds)), "|", markersize=22, color=LIGHT["ink"], label="whole round")
    axes.set_yticks(range(len(rounds)), [f"{each.concurrency} at once" for each in rounds])
    axes.set_ylim(len(rounds) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel("milliseconds, median of each stage")
    figure.legend(loc="outside upper center", ncols=len(names) + 1)
    return Drawn("rounds", "Where the time of a round goes", "", figure)
