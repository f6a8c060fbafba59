"""What a dial does: methods that were run at several draft lengths, beam widths or thresholds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.canvas import Drawn, begin_axes
from tandem.evaluation.report.measures import BLOCK_EFFICIENCY, PERPLEXITY, Measure, primary
from tandem.evaluation.report.palette import LIGHT, MARKERS, ORDINAL
from tandem.evaluation.report.plots.axes import bounds, scale

DIALS = {"threshold": "threshold τ", "draft_length": "draft length γ", "beam_width": "beam width b"}
_SETTINGS = {**DIALS, "temperature": "temperature", "top_k": "top-k", "top_p": "top-p"}
_SIGNS = {"threshold": "τ", "draft_length": "γ", "beam_width": "b", "temperature": "T", "top_k": "k", "top_p": "p"}
_HEIGHT = 270
_WIDTH = 340  # three stand in a row
_NAMES_A_ROW = 4


@dataclass(frozen=True, slots=True)
class Sweep:
    """One method's configurations along one dial."""

    method: str
    dial: str
    lines: dict[str, tuple[Figures, ...]]
    """By value of another setting that varies; one line without a name where none does."""
    held: str
    """Settings that vary too and are held at one value here, as a person reads it."""
    num_left_out: int
    """Lines for which there is no room."""

    @property
    def title(self) -> str:
        """What is shown."""
        return f"{self.method} by {DIALS[self.dial]}"


def sweeps(rows: Sequence[Figures]) -> Iterator[Sweep]:
    """Every dial of every method that was run at several values of it."""
    for method in dict.fromkeys(str(row.configuration["method"]) for row in rows):
        own = [row for row in rows if row.configuration["method"] == method]
        varying = [name for name in _SETTINGS if len(_values(own, name)) > 1]
        for dial in varying:
            if dial in DIALS:
                yield _along(method, dial, own, [name for name in varying if name != dial])


def _along(method: str, dial: str, rows: Sequence[Figures], others: Sequence[str]) -> Sweep:
    """One line a value of the setting with the most values; what varies besides is held at its most frequent value."""
    across = max(others, key=lambda name: len(_values(rows, name)), default=None)
    held = []
    for name in others:
        if name != across:
            value = _middle(rows, name)
            rows = [row for row in rows if row.configuration[name] == value]
            held.append(f"{_SETTINGS[name]} = {value:g}")
    rows = sorted(rows, key=lambda row: float(row.configuration[dial]))
    lines = {"": tuple(rows)}
    if across is not None:
        lines = {
            f"{_SIGNS[across]}={value:g}": tuple(row for row in rows if row.configuration[across] == value)
            for value in _values(rows, across)
        }
        if any(len(own) > 1 for own in lines.values()):  # of dials that were swept one at a time the rest are points
            lines = {name: own for name, own in lines.items() if len(own) > 1}
    kept = _spread(list(lines), len(ORDINAL))
    return Sweep(method, dial, {name: lines[name] for name in kept}, ", ".join(held), len(lines) - len(kept))


def _values(rows: Sequence[Figures], name: str) -> list[float]:
    return sorted({row.configuration[name] for row in rows if row.configuration[name] is not None})


def _middle(rows: Sequence[Figures], name: str) -> float:
    """The value of most rows; of several such the one in the middle."""
    counts = Counter(float(row.configuration[name]) for row in rows)
    most = [value for value in sorted(counts) if counts[value] == max(counts.values())]
    return most[len(most) // 2]


def _spread(names: Sequence[str], most: int) -> list[str]:
    """At most so many of them, first and last included."""
    if len(names) <= most:
        return list(names)
    return [names[round(index * (len(names) - 1) / (most - 1))] for index in range(most)]


def panels(sweep: Sweep, baseline: Figures | None) -> list[Drawn]:
    """Perplexity, the primary score if there is one, and block efficiency along the dial."""
    rows = [row for line in sweep.lines.values() for row in line]
    score = primary(rows)
    measures = [PERPLEXITY, *([score] if score else []), BLOCK_EFFICIENCY]
    drawn = (_panel(sweep, measure, baseline if measure is not BLOCK_EFFICIENCY else None) for measure in measures)
    return [panel for panel in drawn if panel is not None]


def _panel(sweep: Sweep, measure: Measure, baseline: Figures | None) -> Drawn | None:
    known = {name: measure.known(line) for name, line in sweep.lines.items()}
    if not any(known.values()):
        return None
    figure, axes = begin_axes(_HEIGHT + 15 * (len(known) // _NAMES_A_ROW), _WIDTH)
    for index, (name, points) in enumerate(known.items()):
        x = [float(row.configuration[sweep.dial]) for row, _ in points]
        colour = ORDINAL[_shade(index, len(known))]
        low, high = ([bounds(value)[side] for _, value in points] for side in (0, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)
        for bound in (low, high):  # bands of several lines lie over each other, and only their edges tell them apart
            axes.plot(x, bound, color=colour, alpha=0.45, linewidth=0.8)
        y = [value.value for _, value in points]
        axes.plot(x, y, marker=MARKERS[index], markersize=6, color=colour, label=name)
    axes.set_xlabel(DIALS[sweep.dial])
    axes.set_xticks(sorted({float(row.configuration[sweep.dial]) for points in known.values() for row, _ in points}))
    scale(axes, "y", measure)
    axes.set_ylabel("")  # the plot's title says it
    base = None if baseline is None else measure.of(baseline)
    if base is not None and math.isfinite(base.value):
        axes.axhline(base.value, color=LIGHT["axis"], linewidth=1.3, linestyle=(0, (4, 3)), label="baseline")
    _legend(figure, axes)
    begin = f"{measure.unit}; {measure.direction}" if measure.unit else measure.direction
    caption = f"{begin[0].upper()}{begin[1:]}. Bands are 95% intervals."
    if sweep.held:
        caption += f" With {sweep.held}."
    if sweep.num_left_out:
        caption += f" {sweep.num_left_out} lines between these are left out; the table has all."
    return Drawn(f"sweep-{sweep.method}-{sweep.dial}-{measure.key}", measure.title.capitalize(), caption, figure)


def _legend(figure: Figure, axes: Axes) -> None:
    """Names row by row; matplotlib itself would fill columns."""
    handles = axes.get_legend_handles_labels()[0]
    rowwise = [handle for column in range(_NAMES_A_ROW) for handle in handles[column::_NAMES_A_ROW]]
    if rowwise:
        figure.legend(
            handles=rowwise, loc="outside upper left", ncols=_NAMES_A_ROW, handlelength=1.6, columnspacing=1.0
        )


def _shade(index: int, count: int) -> int:
    """Shades of few lines are as far apart as there are."""
    return round(index * (len(ORDINAL) - 1) / max(1, count - 1)) if count > 1 else 2
