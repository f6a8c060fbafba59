"""The test's side of the zygote: processes as awaitable values."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Forked:
    """A process forked by the zygote."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """Its exit code once it has ended; less than 0 is the signal that ended it."""

    @property
    def is_alive(self) -> bool:
        return not self.status.done()

    def send(self, number: signal.Signals) -> None:
        if self.is_alive:
            os.kill(self.pid, number)


class Zygote:
    """Owner of the zygote's process, and so of all that it forked."""

    def __init__(self, *modules: str) -> None:
        """``modules``: further ones that are imported once, rather than in each process that runs them."""
        self._modules = modules
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._asked: deque[asyncio.Future[Forked]] = deque()
        self._running: dict[int, Forked] = {}

    async def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.faults.zygote",
            *self._modules,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            cwd=ROOT,
        )
        self._reader = asyncio.create_task(self._read())

    async def fork(
        self, module: str, argv: Sequence[str], log: Path, environ: Mapping[str, str] | None = None
    ) -> Forked:
        """Has a process run the module's ``main``. ``environ`` are variables beside the zygote's own."""
        assert self._process is not None
        assert self._process.stdin is not None
        asked: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        wanted = {"module": module, "argv": list(argv), "log": str(log), "environ": dict(environ or {})}
        self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
        return await asked

    async def close(self) -> None:
        """Ends everything at once."""
        if self._process is None:
            return
        for forked in self._running.values():
            forked.send(signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        assert self._reader is not None
        await self._reader

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "status" in said:
                forked = self._running.pop(said["pid"])
                forked.status.set_result(os.waitstatus_to_exitcode(said["status"]))
            else:
                forked = self._running[said["pid"]] = Forked(said["pid"])
                self._asked.popleft().set_result(forked)
