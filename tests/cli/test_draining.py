"""``tandem drain``: whom it finds, and what it says where it finds nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tandem.errors import InvalidArgument
from tandem.stack import draining
from tandem.stack.listener import listening_pid
from tests.e2e.running import ENVIRONMENT, tandem
from tests.support.tiny_pair import make_tokenizer


def test_the_process_that_listens_is_found() -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((host, 0), family=family) as server:
            port = server.getsockname()[1]
            assert listening_pid(port) == os.getpid()
        assert listening_pid(port) is None


def test_a_service_is_drained_by_its_own_ready_file(tmp_path: Path) -> None:
    make_tokenizer(tmp_path / "tokenizer")
    ready_file = tmp_path / "ready.json"
    command = [sys.executable, "-m", "tests.support.table_service", "draft", str(tmp_path / "tokenizer")]
    process = subprocess.Popen([*command, "--ready-file", str(ready_file)], env=os.environ | ENVIRONMENT)
    try:
        while not ready_file.exists():
            assert process.poll() is None
            time.sleep(0.05)
        other = tandem("drain", "--ready-file", str(ready_file), "--role", "verify")
        assert (other.returncode, "names no verify" in other.stderr) == (2, True)
        elsewhere = tandem("drain", "127.0.0.1:1", "--ready-file", str(ready_file))
        assert (elsewhere.returncode, "127.0.0.1:1" in elsewhere.stderr) == (2, True)
        assert process.poll() is None
        done = tandem("drain", "--ready-file", str(ready_file))
        assert (done.returncode, done.stderr) == (0, "")
        assert f"(pid {process.pid}) has handed over and left" in done.stdout
        assert process.wait(1) == 0
        again = tandem("drain", "--ready-file", str(ready_file))
        assert (again.returncode, "does not answer" in again.stderr) == (2, True)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--ready-file"),
        (("127.0.0.1:1",), "no process"),
        (("nonsense",), "host:port"),
        (("--ready-file", "/no/such/file"), "/no/such/file"),
        (("--ready-file", __file__), "cannot be read as a ready file"),
    ],
)
def test_what_cannot_be_drained_is_one_line(arguments: tuple[str, ...], named: str) -> None:
    done = tandem("drain", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert named in done.stderr


async def test_nothing_but_a_service_is_signalled(tmp_path: Path) -> None:
    """A stale ready file may name a process that came later, and an address that somebody else has."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            ready_file = tmp_path / "ready.json"
            ready_file.write_text(json.dumps({"role": "draft", "address": address, "pid": os.getpid()}))
            with pytest.raises(InvalidArgument, match="no service"):
                await draining.drain(*draining.told(ready_file))
            with pytest.raises(InvalidArgument, match="no service"):
                await draining.at(address)
        await asyncio.sleep(0)
        assert not received
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_stack_is_drained_in_order_and_without_its_store(tmp_path: Path) -> None:
    processes = [
        {"role": role, "address": f"h:{port}", "pid": port}
        for port, role in enumerate(("store", "orchestrator", "draft", "verify", "draft"), 1)
    ]
    ready_file = tmp_path / "ready.json"
    ready_file.write_text(json.dumps({"processes": processes}))
    assert [one.pid for one in draining.told(ready_file)] == [4, 3, 5, 2]
    assert [one.pid for one in draining.told(ready_file, "draft")] == [3, 5]
    with pytest.raises(InvalidArgument, match="store"):
        draining.told(ready_file, "store")
