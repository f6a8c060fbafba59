"""Labels beside points, placed so that they cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from tandem.evaluation.report.canvas import INK, MUTED, PAPER

_DIRECTIONS = tuple((math.cos(angle), math.sin(angle)) for angle in (k * math.pi / 6 for k in range(12)))
_DISTANCES = (10, 16, 26, 38, 52, 68, 86)
_LEADER_FROM = 20
_NEAR = tuple(distance for distance in _DISTANCES if distance <= _LEADER_FROM)
_POINT = 8  # half of what a point covers
_ON_LABEL, _ON_POINT, _ON_BAR, _OUTSIDE = 100.0, 20.0, 2.0, 1000.0
_TOLERABLE = 3.0  # a bar crossed, nearby


@dataclass(frozen=True, slots=True)
class Labelled:
    """A point of the axes with its name, and how far its error bars reach."""

    text: str
    x: float
    y: float
    x_bounds: tuple[float, float]
    y_bounds: tuple[float, float]
    is_needed: bool
    """Is named even where there is hardly room."""


def place(axes: Axes, points: Sequence[Labelled], named: Sequence[Labelled], fontsize: float = 10.5) -> list[Bbox]:
    """Names those points in order of importance, and returns the boxes of the names on the canvas.

    A name without room is left out unless it is needed. Greedy: each takes the best of the places that are left.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # fixes where the axes lie
    to_canvas = axes.transData.transform
    spots = [
        Bbox.from_extents(x - _POINT, y - _POINT, x + _POINT, y + _POINT)
        for x, y in (_on_canvas(axes, p) for p in points)
    ]
    bars = [
        Bbox([to_canvas((low_x, low_y)), to_canvas((high_x, high_y))])
        for point in points
        for low_x, high_x, low_y, high_y in (
            (*point.x_bounds, point.y, point.y),
            (point.x, point.x, *point.y_bounds),
        )
    ]
    inside = axes.get_window_extent()
    taken: list[Bbox] = []
    for label in named:
        text = axes.text(0, 0, label.text, fontsize=fontsize)
        size = text.get_window_extent()
        text.remove()
        places = [
            (distance, _box(_on_canvas(axes, label), direction, distance, size))
            for distance in (_DISTANCES if label.is_needed else _NEAR)
            for direction in _DIRECTIONS
        ]
        costs = [distance / 20 + _cost(box, taken, spots, bars, inside) for distance, box in places]
        cost = min(costs)
        distance, box = places[costs.index(cost)]
        if cost >= _TOLERABLE and not label.is_needed:
            continue
        taken.append(box)
        _write(axes, label, box, distance > _LEADER_FROM, fontsize)
    return taken


def _on_canvas(axes: Axes, point: Labelled) -> tuple[float, float]:
    x, y = axes.transData.transform((point.x, point.y))
    return float(x), float(y)


def _box(point: tuple[float, float], direction: tuple[float, float], distance: float, size: Bbox) -> Bbox:
    """Of a text whose nearest part is that far from the point."""
    across, up = direction
    x = point[0] + across * distance + (across - 1) / 2 * size.width
    y = point[1] + up * distance + (up - 1) / 2 * size.height
    return Bbox.from_bounds(x, y, size.width, size.height)


def _cost(box: Bbox, labels: Sequence[Bbox], points: Sequence[Bbox], bars: Sequence[Bbox], inside: Bbox) -> float:
    within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
    return (
        _ON_LABEL * box.padded(2).count_overlaps(labels)
        + _ON_POINT * box.count_overlaps(points)
        + _ON_BAR * box.count_overlaps(bars)
        + _OUTSIDE * (not within)
    )


def _write(axes: Axes, label: Labelled, box: Bbox, with_leader: bool, fontsize: float) -> None:
    point = _on_canvas(axes, label)
    axes.annotate(
        label.text,
        (label.x, label.y),
        ((box.x0 + box.x1) / 2 - point[0], (box.y0 + box.y1) / 2 - point[1]),
        textcoords="offset points",  # at 72 dots an inch the canvas' own units
        ha="center",
        va="center",
        fontsize=fontsize,
        color=INK,
        bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.7, "shrinkB": 4} if with_leader else None,
    ).set_in_layout(False)
