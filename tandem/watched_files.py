"""Whether files have changed, by what the file system says of them: cheap enough to ask at every call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class WatchedFiles:
    """Files that may be replaced at any time, whole, by rename or through a link that is turned."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Looks once: what is read after this is what `have_changed` compares with."""
        self._paths = tuple(paths)
        self._seen = self._look()

    def have_changed(self) -> bool:
        """Whether one has changed since this was last asked. Ask before reading: then no change is missed."""
        now = self._look()
        changed, self._seen = now != self._seen, now
        return changed

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
