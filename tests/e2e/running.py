"""``tandem up`` as its users start it: a real process with real children, on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
PATIENCE_SECONDS = 120.0


def tandem(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    command = [sys.executable, "-m", "tandem.cli.main", *arguments]
    options = {"capture_output": True, "text": True, "timeout": PATIENCE_SECONDS} | options
    return subprocess.run(command, env=os.environ | ENVIRONMENT, **options)


class Up:
    """A running ``tandem up``."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.ready_file, self._log = folder / "ready.json", folder / "output"
        command = [sys.executable, "-m", "tandem.cli.main", "up", "--port", "0", "--http-port", "0"]
        command += ["--ready-file", str(self.ready_file), *arguments]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | ENVIRONMENT)

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def told(self) -> dict[str, Any]:
        """The ready file."""
        return json.loads(self.ready_file.read_text())

    def pids(self, role: str | None = None) -> list[int]:
        return [process["pid"] for process in self.told["processes"] if role in (None, process["role"])]

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.process.poll() is None, f"tandem up ended:\n{self.output}"
            assert time.monotonic() < deadline, f"still not: {what}\n{self.output}"
            time.sleep(0.05)

    def kill_child(self, role: str) -> None:
        """Kills the first process of a role and waits until it is back."""
        before = self.pids(role)
        os.kill(before[0], signal.SIGKILL)
        self.wait_until(lambda: before[0] not in self.pids(role), f"a new {role}")

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[Up]:
    """Starts, waits until everything serves, stops."""
    up = Up(folder, arguments)
    try:
        up.wait_until(lambda: "ready:" in up.output, "everything serves")
        yield up
    finally:
        if up.process.poll() is None:
            up.process.terminate()
            up.process.wait(30)


def alive(pids: Sequence[int]) -> list[int]:
    """Those of the processes that still run."""
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
