"""Energy counters that a test turns by hand."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tandem.decoding.scored import Scored
from tandem.decoding.values import Floats, Ids
from tandem.decoding.warp import Candidates
from tandem.energy.counter import NotMeasured, Source
from tandem.engine.tree_model import Row
from tests.support.tabular import TabularModel

RANGE = 262_143_328_850
"""Where the counters of many processors start again, in microjoules."""


class HandCounter:
    """Counts what it is told to have counted."""

    source: Source = "rapl"

    def __init__(self) -> None:
        self.count = 0.0
        self.num_reads = 0
        self.broken = False

    def joules(self) -> float:
        self.num_reads += 1
        if self.broken:
            raise NotMeasured("broken by hand")
        return self.count


class BurningModel(TabularModel):
    """A table that uses so many joules for every token it reads."""

    def __init__(self, logits: Floats, counter: HandCounter, joules_per_token: float = 0.25) -> None:
        super().__init__(logits)
        self._counter = counter
        self._joules_per_token = joules_per_token

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        found = super().candidates(rows, width, num_top)
        self._counter.count += self._joules_per_token * sum(len(row.token_ids) for row in rows)
        return found

    def score(self, rows: Sequence[Row], next_ids: Ids, num_top: int) -> Scored:
        scored = super().score(rows, next_ids, num_top)
        self._counter.count += self._joules_per_token * sum(len(row.token_ids) for row in rows)
        return scored


class PowercapTree:
    """A folder laid out as the kernel lays out /sys/class/powercap."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)

    def zone(self, zone: str, name: str, microjoules: int = 0, wraps_at: int = RANGE) -> Path:
        """Makes a zone; returns its folder."""
        folder = self.root / zone
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{wraps_at}\n")
        self.set(zone, microjoules)
        return folder

    def set(self, zone: str, microjoules: int) -> None:
        """Sets a zone's counter, so that no reader sees it half written."""
        written = self.root / f".{zone}"
        written.write_text(f"{microjoules}\n")
        os.replace(written, self.root / zone / "energy_uj")

    @contextmanager
    def running(self, zone: str, watts: float, start: int, wraps_at: int = RANGE) -> Iterator[list[float]]:
        """Lets a zone's counter run on from ``start``, past its wrap-around; what it has counted, in joules."""
        counted, stop = [0.0], threading.Event()

        def run() -> None:
            while not stop.wait(0.005):
                counted[0] += watts * 0.005
                self.set(zone, (start + int(counted[0] * 1e6)) % wraps_at)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield counted
        finally:
            stop.set()
            thread.join()
