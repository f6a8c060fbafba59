"""A process's wall clock, set from outside while it runs; its monotonic clock goes on as it does."""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path
from typing import Any


class WallClock:
    """By how many seconds one process's clock is wrong: what a file says, where there is one from its start on.

    Of Python's clocks those that tell the time of day are moved, and not for gRPC, which reckons with the machine's own
    clock in C beside them.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"

    def set(self, seconds: float) -> None:
        """Called by the test."""
        partial = self._file.with_suffix(".partial-clock")
        partial.write_text(str(seconds))
        partial.replace(self._file)

    def install(self) -> None:
        """Called by the process, before it does anything."""
        if not self._file.exists():
            return
        real_time, real_datetime = time.time, datetime.datetime

        def moved() -> float:
            by_grpc = sys._getframe(2).f_globals["__name__"].startswith("grpc")
            return 0.0 if by_grpc else float(self._file.read_text())

        class _Either(type):
            def __instancecheck__(cls, value: object) -> bool:
                return isinstance(value, real_datetime)

        class MovedDatetime(real_datetime, metaclass=_Either):  # type: ignore[valid-type, misc]
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> Any:
                return real_datetime.now(tz) + datetime.timedelta(seconds=moved())

        time.time = lambda: real_time() + moved()
        time.time_ns = lambda: int((real_time() + moved()) * 1e9)
        datetime.datetime = MovedDatetime  # type: ignore[misc]
