"""A file that is read again when it changes. One that cannot be used leaves what was read before in force."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from tandem.errors import InvalidArgument
from tandem.telemetry import logger
from tandem.watched_files import WatchedFiles

LOOK_EVERY_SECONDS = 1.0

Value = TypeVar("Value")


class Reread(Generic[Value]):
    """What a file says now, looked at once a second at most, when it is asked for."""

    def __init__(self, path: Path, read: Callable[[str], Value]) -> None:
        """``read`` makes the value of the file's text.

        Raises:
            InvalidArgument: the file cannot be read, or ``read`` raised it.
        """
        self._path = path
        self._read = read
        self._watched = WatchedFiles([path])
        self._value = self._read_file()
        self._looked_at = time.monotonic()

    @property
    def value(self) -> Value:
        """The value that is in force."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_SECONDS:
            self._looked_at = now
            if self._watched.have_changed():
                self._read_again()
        return self._value

    def _read_again(self) -> None:
        log = logger("orchestrator.access").bind(file=str(self._path))
        try:
            self._value = self._read_file()
        except InvalidArgument as error:
            log.error("file cannot be used; what it held before stays in force", reason=str(error))
        else:
            log.info("file read again")

    def _read_file(self) -> Value:
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(f"{self._path} cannot be read: {type(error).__name__}") from None
        return self._read(text)
