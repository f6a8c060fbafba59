"""Which process of this machine listens at an address, as the kernel tells."""

from __future__ import annotations

import os
from pathlib import Path

_LISTENING = "0A"
_PROC = Path("/proc")


def listening_pid(port: int) -> int | None:
    """The process that listens on a TCP port here; None where nobody does, or where it is another user's."""
    sockets = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _inodes(_PROC / "net" / table, port)}
    if not sockets:
        return None
    for process in _PROC.iterdir():
        if process.name.isdigit() and not sockets.isdisjoint(_opened(process / "fd")):
            return int(process.name)
    return None


def _inodes(table: Path, port: int) -> set[str]:
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return set()
    return {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}


def _opened(folder: Path) -> set[str]:
    found = set()
    try:
        for entry in folder.iterdir():
            found.add(os.readlink(entry))
    except OSError:
        pass  # it is another user's, or gone
    return found
