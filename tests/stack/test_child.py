from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from tandem.errors import InvalidArgument, Unavailable
from tandem.stack.child import Child
from tandem.stack.programs import Ready, ServiceProgram
from tandem.stack.store import StoreProgram


class Script(ServiceProgram):
    """A program that runs Python source, and serves once it has written the file it is given."""

    def __init__(self, source: str, folder: Path) -> None:
        super().__init__("draft", "draft", {}, folder / "unused")
        self._source = source
        self._file = folder / "serving"

    def command(self, before: Ready | None) -> list[str]:
        self._file.unlink(missing_ok=True)
        header = f"import pathlib, os, signal, sys, time\nserving = pathlib.Path({str(self._file)!r})\n"
        return [sys.executable, "-u", "-c", header + self._source]

    def look(self, pid: int) -> Ready | None:
        return Ready(pid, "127.0.0.1:1") if self._file.exists() else None


SERVE = "serving.touch(); time.sleep(60)"


async def test_it_serves_until_terminated(tmp_path: Path) -> None:
    child = Child(Script(SERVE, tmp_path), print, None)
    ready = await child.start()
    assert psutil.pid_exists(ready.pid)
    child.terminate()
    await child.gone(5)
    assert not psutil.pid_exists(ready.pid)
    assert await child.ended() == "was killed by SIGTERM"


async def test_its_own_words_are_the_failure(tmp_path: Path) -> None:
    said: list[str] = []
    source = "print('noise', flush=True); print('error: the port is taken', file=sys.stderr); sys.exit(2)"
    with pytest.raises(InvalidArgument, match=r"^draft: the port is taken$"):
        await Child(Script(source, tmp_path), said.append, None).start()
    assert said == ["draft: noise"]


async def test_a_death_while_starting_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"exit code -9.*last words"):
        await Child(Script("print('last words'); os.kill(os.getpid(), 9)", tmp_path), print, None).start()


async def test_warnings_are_said_in_short_and_all_is_logged(tmp_path: Path) -> None:
    said: list[str] = []
    lines = [
        '{"level": "info", "event": "serving", "role": "draft"}',
        '{"level": "warning", "event": "slow", "seconds": 3, "role": "draft", "timestamp": "x"}',
    ]
    source = "".join(f"print({line!r});" for line in lines) + SERVE
    child = Child(Script(source, tmp_path), said.append, tmp_path)
    await child.start()
    for _ in range(500):
        if said:
            break
        await asyncio.sleep(0.01)
    child.kill()
    await child.gone(5)
    assert said == ["draft: warning: slow seconds=3"]
    assert (tmp_path / "draft.log").read_text().splitlines() == lines


async def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    child = Child(Script(f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {SERVE}", tmp_path), said.append, None)
    await child.start()
    child.terminate()
    await child.gone(0.2)
    assert await child.ended() == "was killed by SIGKILL"
    assert said == ["draft did not stop in time and is killed"]


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    source = (
        "import asyncio, pathlib, sys\n"
        "from tests.stack.test_child import SERVE, Script\n"
        "from tandem.stack.child import Child\n"
        "async def main():\n"
        f"    ready = await Child(Script(SERVE, pathlib.Path({str(tmp_path)!r})), print, None).start()\n"
        "    print(ready.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(200):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child outlived its parent")


async def test_a_store_comes_back_where_it_was(tmp_path: Path) -> None:
    program = StoreProgram(tmp_path)
    child = Child(program, print, None)
    first = await child.start()
    assert "redis-server" in program.what
    with redis.Redis.from_url(program.url) as client:
        client.set("a", "1")
        assert client.config_get("save") == {"save": ""}
    os.kill(first.pid, signal.SIGKILL)
    assert await child.ended() == "was killed by SIGKILL"
    second = await child.start()
    assert (second.address, second.pid != first.pid) == (first.address, True)
    with redis.Redis.from_url(program.url) as client:
        assert client.get("a") is None
    child.terminate()
    await child.gone(5)


async def test_the_stand_in_store_runs_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.stack.store.find_redis_server", lambda: None)
    program = StoreProgram(tmp_path)
    assert "fakeredis" in program.what
    child = Child(program, print, None)
    await child.start()

    def use() -> object:
        with redis.Redis.from_url(program.url) as client:
            return client.eval("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])", 1, "a", "7")

    assert await asyncio.to_thread(use) == b"7"
    child.terminate()
    await child.gone(5)
