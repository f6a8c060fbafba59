"""A disk that can be full: a small file system of its own where one may be mounted, or else a limit on files' sizes."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

DISK_BYTES = 64 << 20
"""Enough for what a row's Redis appends."""


class SmallDisk(Protocol):
    """A folder's disk, as far as one process is concerned."""

    folder: Path
    kind: str
    """What it is, for the figures."""

    def fill(self, pid: int) -> None:
        """Leaves no room."""

    def free(self, pid: int) -> None:
        """Leaves room again."""


class MountedDisk:
    """A file system in memory. Filling it takes a file."""

    kind = "on a file system of 64 MB"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, _: int) -> None:
        with self._filler.open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))
        assert not os.statvfs(self.folder).f_bavail

    def free(self, _: int) -> None:
        self._filler.unlink()


class LimitedFiles:
    """Files of a process that can grow no more. Needs no right to mount anything."""

    kind = "by a limit on the size of its files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int) -> None:
        forbid_growth(pid)

    def free(self, pid: int) -> None:
        allow_growth(pid)


def forbid_growth(pid: int) -> None:
    """Every write of a process to a file fails from now on; to a socket, none does."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, most))


def allow_growth(pid: int) -> None:
    """As it was before."""
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """One at ``folder``, which is made."""
    folder.mkdir()
    if not _mounts(folder):
        yield LimitedFiles(folder)
        return
    try:
        yield MountedDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mounts(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tandem-faults", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0
