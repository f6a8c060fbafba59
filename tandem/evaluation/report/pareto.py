"""Which of several trade-offs no other one beats."""

from __future__ import annotations

import math
from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other equals or exceeds in both and exceeds in one, by rising first coordinate.

    Of equal points all are on the front. Points that are not finite are on none.
    """
    finite = [index for index, point in enumerate(points) if all(map(math.isfinite, point))]
    best = [index for index in finite if not any(_beats(points[other], points[index]) for other in finite)]
    return sorted(best, key=lambda index: points[index])


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]
