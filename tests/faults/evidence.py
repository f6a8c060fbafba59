"""What a long row has found so far, minute by minute, in a file that survives the run."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Minute:
    """Counts of one minute; of less, at the end of a piece."""

    piece: int = 1
    """A run that was stopped goes on in another piece."""
    is_last: bool = False
    """Whether nothing came after it: all is mended, and the last sessions have ended."""
    faults: dict[str, int] = field(default_factory=dict)
    """By kind, how many began."""
    trials: int = 0
    took_effect: int = 0
    num_sessions: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    num_lost: int = 0
    longest_wait_seconds: float = 0.0
    """Of any session that ended in it."""
    own_bytes: int = 0
    """Resident memory of the process that follows all sessions."""

    def told(self) -> str:
        """In a line, for whoever waits."""
        return (
            f"{self.took_effect} of {self.trials} faults took effect, {self.num_sessions} sessions, "
            f"{len(self.failed)} failed, {len(self.wrong)} wrong, {self.num_lost} lost, "
            f"longest wait {self.longest_wait_seconds:.2f} s, {self.own_bytes >> 20} MB"
        )


class Evidence:
    """The file: a JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def unfinished(self, num_minutes: int) -> list[Minute]:
        """What an earlier run has found that was stopped before its end; a finished one is begun anew."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        minutes = [Minute(**json.loads(line)) for line in lines]
        if len(minutes) >= num_minutes or any(minute.is_last for minute in minutes):
            self._path.unlink()
            return []
        return minutes

    def add(self, minute: Minute) -> None:
        """Writes it down at once."""
        with self._path.open("a") as file:
            file.write(json.dumps(dataclasses.asdict(minute)) + "\n")
