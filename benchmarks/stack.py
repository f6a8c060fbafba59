"""A running stack for benchmarks: `tandem up` as its users start it, on free ports."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_START_SECONDS = 180.0


@contextmanager
def running_stack(arguments: Sequence[str]) -> Iterator[str]:
    """As `told_stack`; yields the address of its orchestrator."""
    with told_stack(arguments) as told:
        yield told["grpc"][0]


@contextmanager
def told_stack(arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Starts a stack and yields what its ready file tells; stops it at the end.

    Raises:
        RuntimeError: it did not come up; what it printed stands in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, log = Path(folder, "ready.json"), Path(folder, "log")
        command = [
            sys.executable,
            "-m",
            "tandem.cli.main",
            "up",
            "--port",
            "0",
            "--http-port",
            "0",
            "--ready-file",
            str(ready),
        ]
        with log.open("w") as output:
            process = subprocess.Popen([*command, *arguments], stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the stack did not start:\n{log.read_text()}")
                time.sleep(0.1)
            yield json.loads(ready.read_text())
        finally:
            process.terminate()
            process.wait(30)
