"""Service processes as an operator starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 120.0


@dataclass(frozen=True)
class Process:
    """A service that serves."""

    popen: subprocess.Popen[bytes]
    ready: dict[str, Any]
    log: Path

    @property
    def address(self) -> str:
        """host:port of its gRPC server."""
        return str(self.ready["address"])

    def stderr(self) -> str:
        """What it has logged."""
        return self.log.read_text()


@contextmanager
def started(module: str, folder: Path, *flags: str, launcher: Sequence[str] = ()) -> Iterator[Process]:
    """Starts ``python -m module``, waits until it serves, and ends it with the block.

    ``launcher``: a module that starts it, with its own flags.
    """
    ready_file, log = folder / f"{module}.ready", folder / f"{module}.log"
    threads = () if module == "orchestrator" else ("--threads", "1")
    command = [sys.executable, "-m", *launcher, module, *threads, "--ready-file", str(ready_file), *flags]
    with log.open("wb") as stderr:
        popen = subprocess.Popen(command, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": "1"})
        try:
            deadline = time.monotonic() + START_SECONDS
            while not ready_file.exists():
                assert popen.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield Process(popen, json.loads(ready_file.read_text()), log)
        finally:
            popen.kill()
            popen.wait()
