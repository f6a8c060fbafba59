"""How much memory is really free, and how much of it a KV pool may take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tandem.errors import InvalidArgument

RESERVED_BYTES = 400 << 20
"""Kept for all that is neither weights nor KV: the libraries, and what one pass computes."""

MEMORY_SHARE = 0.25
"""Unless told otherwise, of what is free beside the weights: on one machine every service takes its part at about the
same time. As the settings have it."""

MAX_FULL_SEQUENCES = 64
"""Unless told otherwise, a pool holds no more than so many texts of the greatest length."""


@dataclass(frozen=True, slots=True)
class PoolSize:
    """How large a KV pool is made, and what of."""

    num_blocks: int
    block_bytes: int
    free_bytes: int
    """When it was decided, with the weights in memory."""

    @property
    def num_bytes(self) -> int:
        """Of the whole pool."""
        return self.num_blocks * self.block_bytes


def pool_size(free_bytes: int, block_bytes: int, *, num_blocks: int, share: float, max_blocks: int) -> PoolSize:
    """``num_blocks`` of them, or, where that is 0, as many as fit ``share`` of what is free, up to ``max_blocks``.

    Raises:
        InvalidArgument: there is no memory for so many, or for a single one.
    """
    room = max(0, free_bytes - RESERVED_BYTES)
    wanted = num_blocks or max(1, min(int(room * share) // block_bytes, max_blocks))
    if wanted * block_bytes > free_bytes:
        raise InvalidArgument(
            f"{wanted} KV blocks take {wanted * block_bytes >> 20} MiB; {free_bytes >> 20} MiB are free beside the "
            "weights: give fewer --kv-blocks, or more memory"
        )
    return PoolSize(wanted, block_bytes, free_bytes)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that may be taken without swapping: the machine's, or less where a control group has a limit.

    ``root`` is where ``proc`` and ``sys`` are found.
    """
    free = _available(root / "proc/meminfo")
    for group in _groups(root):
        limit, used = _number(group / "memory.max"), _number(group / "memory.current")
        if limit is not None and used is not None:
            free = min(free, limit - used + _reclaimable(group / "memory.stat", "inactive_file"))
    version_1 = root / "sys/fs/cgroup/memory"
    limit, used = _number(version_1 / "memory.limit_in_bytes"), _number(version_1 / "memory.usage_in_bytes")
    if limit is not None and used is not None:
        free = min(free, limit - used + _reclaimable(version_1 / "memory.stat", "total_inactive_file"))
    return max(0, free)


def _available(meminfo: Path) -> int:
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _groups(root: Path) -> list[Path]:
    """The control groups, version 2, that this process is in, from its own up."""
    top = root / "sys/fs/cgroup"
    own = next((line[3:] for line in _lines(root / "proc/self/cgroup") if line.startswith("0::")), "/")
    # In a container the path may be that of the host, and lead nowhere here; the top is the container's own then.
    group = top / own.strip("/")
    return [found for found in (group, *group.parents) if found.is_relative_to(top)]


def _reclaimable(stat: Path, name: str) -> int:
    """Files in memory that count as used and are given up as soon as anybody asks: the weights just read, say."""
    return next((int(line.split()[1]) for line in _lines(stat) if line.split()[:1] == [name]), 0)


def _number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
