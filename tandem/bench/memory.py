"""Resident memory of the processes of a stack on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def resident_bytes(processes: Iterable[Mapping[str, Any]], proc: Path = PROC) -> tuple[tuple[str, int], ...]:
    """(role, bytes) of each process that a ready file tells of; those that cannot be read are left out."""
    page = os.sysconf("SC_PAGE_SIZE")
    found = []
    for process in processes:
        try:
            pages = int((proc / str(process["pid"]) / "statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            continue
        found.append((str(process["role"]), pages * page))
    return tuple(found)
