"""A log that grows for as long as an hour, of which no line is read twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path


class GrowingLog:
    """What an orchestrator's log says of replicas."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._accepted: Counter[str] = Counter()

    def times_accepted(self, address: str) -> int:
        """How often the replica at ``address`` has been accepted so far."""
        if self._path.exists():
            with self._path.open("rb") as log:
                log.seek(self._position)
                *whole, _ = log.read().split(b"\n")
            for line in whole:
                self._position += len(line) + 1
                if b'"replica accepted"' in line:
                    self._accepted[json.loads(line)["replica"]] += 1
        return self._accepted[address]
