"""One process of the stack: started, listened to, stopped; it never outlives this one."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tandem.errors import InvalidArgument, TandemError, Unavailable
from tandem.stack.programs import Program, Ready
from tandem.tie import tie_to_parent

LOOK_EVERY_SECONDS = 0.02

Say = Callable[[str], None]


class Child:
    """A program's process. ``start`` may be called again after the process has ended."""

    def __init__(self, program: Program, say: Say, log_dir: Path | None) -> None:
        """Says warnings through ``say``; everything goes to a file of ``log_dir``, if given."""
        self.program = program
        self.ready: Ready | None = None
        self._say = say
        self._log_file = None if log_dir is None else log_dir / f"{program.name}.log"
        self._process: Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=20)
        self._stopping = False

    async def start(self) -> Ready:
        """Starts the process and waits until it serves, on the ports it had before.

        Raises:
            InvalidArgument: it refused to start; the message is its own.
            Unavailable: it died otherwise.
        """
        self._last_lines.clear()
        # A session of its own: Ctrl-C reaches this process only, which then stops the others in order.
        process = await asyncio.create_subprocess_exec(
            *self.program.command(self.ready),
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
            preexec_fn=tie_to_parent(),
        )
        self._process = process
        self._listening = asyncio.create_task(self._listen(process))
        while process.returncode is None:
            ready = self.program.look(process.pid)
            if ready is not None and ready.pid == process.pid:
                self.ready = ready
                return ready
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        await self._listening
        raise self._failure(process.returncode)

    async def ended(self) -> str:
        """Waits until the process has ended; returns how, in words."""
        assert self._process is not None
        code = await self._process.wait()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def terminate(self) -> None:
        """Asks the process to end."""
        self._stopping = True
        self._signal(signal.SIGTERM)

    async def gone(self, patience_seconds: float) -> None:
        """Waits until the process has ended, and kills it when ``patience_seconds`` have passed."""
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), patience_seconds)
        except TimeoutError:
            self._say(f"{self.program.name} did not stop in time and is killed")
            self._signal(signal.SIGKILL)
            await self._process.wait()
        if self._listening is not None:
            await self._listening

    def kill(self) -> None:
        """Ends the process at once."""
        self._stopping = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def _failure(self, code: int) -> TandemError:
        told = next((line for line in reversed(self._last_lines) if line.startswith("error: ")), None)
        if told is not None:
            return InvalidArgument(f"{self.program.name}: {told.removeprefix('error: ')}")
        last = self._last_lines[-1] if self._last_lines else "it said nothing"
        return Unavailable(f"{self.program.name} ended while starting (exit code {code}): {last}")

    async def _listen(self, process: Process) -> None:
        """Reads what the process writes; ends with it."""
        assert process.stdout is not None
        log = None if self._log_file is None else self._log_file.open("a", encoding="utf-8")
        try:
            rest = b""
            while chunk := await process.stdout.read(1 << 16):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._hear(line.decode(errors="replace"), log)
            if rest:
                self._hear(rest.decode(errors="replace"), log)
        finally:
            if log is not None:
                log.close()

    def _hear(self, line: str, log: object) -> None:
        self._last_lines.append(line)
        if log is not None:
            print(line, file=log, flush=True)  # type: ignore[call-overload]
        # While starting, an error becomes the failure; while stopping, complaints about parts already gone are noise.
        remark = None if self._stopping or line.startswith("error: ") else self.program.remark(line)
        if remark is not None:
            self._say(f"{self.program.name}: {remark}")
