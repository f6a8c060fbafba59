"""Sums over the last seconds."""

from __future__ import annotations

import pytest

from tandem import recent
from tandem.recent import Recent


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(recent, "time", made)
    return made


def test_what_is_older_no_longer_counts(clock: Clock) -> None:
    sums = Recent(10.0)
    assert (sums.total, sums.mean, sums.per_second) == (0, 0, 0)
    for number in range(20):
        clock.now = 1000.0 + number
        sums.add(number)
    assert sums.total == sum(range(10, 20))
    assert sums.mean == 14.5
    assert sums.per_second == 14.5
    clock.now += 5
    assert sums.total == sum(range(15, 20))
    clock.now += 100
    assert (sums.total, sums.mean, sums.per_second) == (0, 0, 0)


def test_a_short_while_is_not_taken_for_a_long_one(clock: Clock) -> None:
    sums = Recent(10.0)
    clock.now += 2.0
    sums.add(3.0)
    sums.add(1.0)
    assert sums.per_second == 2.0
    assert sums.mean == 2.0
