"""Starts a plan's processes in order, restarts those that die, and stops them all."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tandem.errors import TandemError
from tandem.stack.checks import check
from tandem.stack.child import Child, Say
from tandem.stack.plan import Plan
from tandem.stack.programs import Program, model_programs, orchestrator_programs
from tandem.stack.store import StoreProgram

STOP_SECONDS = 5.0
"""How long a process may take to stop."""
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
HEALTHY_SECONDS = 30.0
"""A process that served this long before it died is restarted without a longer pause."""


class Stack:
    """A running stack. Use as an async context manager: entering starts it, leaving stops every process of it."""

    def __init__(self, plan: Plan, say: Say) -> None:
        """Prepares; ``say`` gets one line for whatever a person should know."""
        self._plan = plan
        self._say = say
        self._folder = tempfile.TemporaryDirectory(prefix="tandem-")
        self._children: list[Child] = []
        self._keepers: list[asyncio.Task[None]] = []  # one per child, cancelled by stop()
        self.store = ""
        """Which store it uses, in words."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts the store, the models, then the orchestrators; returns once all serve.

        Raises:
            TandemError: a process could not start; the message is its own. Call `stop` then, too.
        """
        plan, folder = self._plan, Path(self._folder.name)
        check(plan)
        if plan.ready_file is not None:
            plan.ready_file.unlink(missing_ok=True)  # of an earlier stack
        if plan.log_dir is not None:
            plan.log_dir.mkdir(parents=True, exist_ok=True)
        if plan.redis_url is None:
            store = StoreProgram(folder)
            self.store = store.what
            await self._start([store])
            redis_url = store.url
        else:
            self.store = redis_url = plan.redis_url
        await self._start(model_programs(plan, folder))
        replicas = {role: self._addresses(role) for role in ("verify", "draft")}
        await self._start(orchestrator_programs(plan, redis_url, replicas, folder))
        self._keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
        self._tell()

    async def stop(self) -> None:
        """Stops every process: asked first, killed after `STOP_SECONDS`. Safe to repeat."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers = []
        # The store goes last: orchestrators commit what they still have.
        for ending in (
            [child for child in self._children if child.program.role != "store"],
            [child for child in self._children if child.program.role == "store"],
        ):
            for child in ending:
                child.terminate()
            await asyncio.gather(*(child.gone(STOP_SECONDS) for child in ending))
        if self._plan.ready_file is not None:
            self._plan.ready_file.unlink(missing_ok=True)
        self._folder.cleanup()

    def kill(self) -> None:
        """Ends every process at once; `stop` returns soon after."""
        for child in self._children:
            child.kill()

    @property
    def grpc(self) -> list[str]:
        """Addresses of the orchestrators, host:port."""
        return self._addresses("orchestrator")

    @property
    def http(self) -> list[str]:
        """URLs of the orchestrators."""
        return [child.ready.http for child in self._children if child.ready is not None and child.ready.http]

    def processes(self) -> list[dict[str, Any]]:
        """Role, pid, address and metrics of every process."""
        return [
            {
                "role": child.program.role,
                "pid": child.ready.pid,
                "address": child.ready.address,
                "metrics": child.ready.metrics,
            }
            for child in self._children
            if child.ready is not None
        ]

    async def _start(self, programs: Sequence[Program]) -> None:
        fresh = [Child(program, self._say, self._plan.log_dir) for program in programs]
        self._children += fresh
        starting = [asyncio.ensure_future(child.start()) for child in fresh]
        try:
            await asyncio.gather(*starting)  # the first that fails ends the wait
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)

    async def _keep(self, child: Child) -> None:
        """Restarts a child whenever it ends; runs until cancelled."""
        name, pause = child.program.name, FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            pid = child.ready.pid if child.ready is not None else 0
            how = await child.ended()
            if time.monotonic() - began > HEALTHY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            lost = "; the sessions it held are lost" if child.program.role == "store" else ""
            self._say(f"{name} (pid {pid}) {how}{lost}; restarting it")
            while True:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                try:
                    ready = await child.start()
                except TandemError as error:
                    self._say(f"{name} did not come back, trying again in {pause:.1f} s: {error}")
                else:
                    break
            self._say(f"{name} is back at {ready.address} (pid {ready.pid})")
            self._tell()

    def _addresses(self, role: str) -> list[str]:
        return [c.ready.address for c in self._children if c.program.role == role and c.ready is not None]

    def _tell(self) -> None:
        """Writes the ready file, whole or not at all."""
        path = self._plan.ready_file
        if path is None:
            return
        told = {"grpc": self.grpc, "http": self.http, "processes": self.processes()}
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(told) + "\n")
        partial.replace(path)
