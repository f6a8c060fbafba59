"""Running a program that a model wrote, so that its accidents stay its own.

The program runs in a Python process of its own: an isolated interpreter without site packages, an empty environment,
an empty working folder, no input, no output, limits on processor time, wall-clock time, memory, file sizes and open
files, and no further processes. On Linux it also sees no network, no other process, and no file that it may write
except in its folder, in so far as the system lets this process have namespaces (many containers do not; the outcome
tells).

This is protection from accidents: a loop without end, memory without bound, a deleted file. It is **not** protection
from an adversary: a program can read what the user can read, can look for holes in the kernel, and, with knowledge of
this module, can make itself count as passed. To run programs that may mean harm, run the whole evaluation in a
container or a virtual machine that holds nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Literal

from tandem.errors import Unavailable

_CHILD = Path(__file__).with_name("sandbox_child.py")
_MAX_REPORT_BYTES = 4096
_MAX_COMPLAINT_BYTES = 16384
_START_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a program may use."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 1 << 30
    """Of address space."""
    file_bytes: int = 16 << 20
    """Of each file; where the folder is a file system of its own, of all together."""
    num_open_files: int = 64


@dataclass(frozen=True, slots=True)
class SandboxOutcome:
    """How a program ended."""

    verdict: Literal["passed", "failed", "timed out"]
    """Passed: every part ran to its end without an exception, in time."""
    isolated: bool
    """Whether network, files and processes were cut off; where not, only the limits held."""


def run_sandboxed(parts: Sequence[str], limits: SandboxLimits | None = None) -> SandboxOutcome:
    """Runs the parts of a program one after another in one module.

    Each part is compiled by itself, so that no part can swallow the next in an open string. A program that ends before
    its last part has run has failed, whatever its exit code.

    Raises:
        Unavailable: the sandbox itself did not start; the program was not run.
    """
    limits = limits or SandboxLimits()
    folder = tempfile.mkdtemp(prefix="tandem-sandbox-")
    try:
        request = json.dumps({"parts": list(parts), "folder": folder, **asdict(limits)}).encode()
        with tempfile.TemporaryFile() as complaints:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(_CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                cwd=folder,
                env={},
                start_new_session=True,
            )
            try:
                return _outcome(process, request, limits, complaints)
            finally:
                _kill_group(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _outcome(
    process: subprocess.Popen[bytes], request: bytes, limits: SandboxLimits, complaints: IO[bytes]
) -> SandboxOutcome:
    """Follows the child's report: a line of how isolated it is and a token, and the token again after the last part."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once; there will be no report
        process.stdin.write(request)
        process.stdin.close()
    report = _read(process.stdout, b"", 1, _START_SECONDS)
    how, _, token = report.partition(b"\n")[0].partition(b" ")
    if b"\n" not in report:
        complaints.seek(0)
        told = complaints.read(_MAX_COMPLAINT_BYTES).decode(errors="replace").strip() or "it said nothing"
        raise Unavailable(f"the sandbox for programs did not start, so none was run: {told}")
    started = time.monotonic()
    report = _read(process.stdout, report, 2, limits.wall_seconds)
    if report.split(b"\n")[1:] == [token, b""]:
        verdict: Literal["passed", "failed", "timed out"] = "passed"
    elif time.monotonic() - started >= limits.wall_seconds:
        verdict = "timed out"
    else:
        verdict = "failed"
    return SandboxOutcome(verdict, how == b"isolated")


def _read(stream: IO[bytes], data: bytes, num_lines: int, seconds: float) -> bytes:
    """Reads until there are so many lines, the stream ends, it is implausibly long, or the time is up."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while data.count(b"\n") < num_lines and len(data) < _MAX_REPORT_BYTES:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                break
            chunk = os.read(stream.fileno(), _MAX_REPORT_BYTES)
            if not chunk:
                break
            data += chunk
    return data


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # The child began a session, so its group has its id; it is not reaped yet, so the id is still its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
