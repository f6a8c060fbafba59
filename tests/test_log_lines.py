"""Logs on a disk that is full."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, resource, sys
from tandem.telemetry import configure_logging, logger
configure_logging("test")
log = logger("test")
log.info("before")
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1, most))
for number in range(1000):
    log.info("meanwhile", number=number)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
log.info("after")
"""


def test_a_line_that_cannot_be_written_is_lost_and_nobody_fails(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as log:
        subprocess.run([sys.executable, "-c", PROGRAM], stderr=log, check=True)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert events[0]["event"] == "before"
    assert events[-1]["event"] == "after"
    assert {"event": "lines were lost", "num_lines": 1000} in events
