"""A program that is given a line and answers with a line."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence

from tandem.errors import InvalidArgument, Unavailable

_MAX_LINE_BYTES = 1 << 20
_CLOSE_SECONDS = 5.0


class LineProcess:
    """A running program. Its complaints go where this process's go. Not to be shared between threads."""

    def __init__(self, command: Sequence[str], name: str, patience_seconds: float) -> None:
        """Starts the program in a session of its own; the name is for messages.

        Raises:
            InvalidArgument: it cannot be started.
        """
        self._name = name
        self._patience_seconds = patience_seconds
        self._unread = b""
        try:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise InvalidArgument(f"{name} cannot be started: {error}; expected a program that may be run") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)

    def ask(self, text: str, where: str) -> bytes:
        """Writes a line and reads the one that answers it.

        Args:
            text: without line ends.
            where: what is being asked, for messages.

        Raises:
            InvalidArgument: the program answered what it was not asked, or at too great length.
            Unavailable: it has ended, or takes too long.
        """
        if self._unread:
            shown = self._unread[:120].decode(errors="replace").strip()
            raise InvalidArgument(
                f"{self._name} printed more than a line for a sample: {shown!r}; expected one for each"
            )
        unsent = text.encode() + b"\n"
        deadline = time.monotonic() + self._patience_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            selector.register(self._input, selectors.EVENT_WRITE)
            while b"\n" not in self._unread:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise Unavailable(f"{where} gave no answer in {self._patience_seconds:g} seconds")
                for key, _ in ready:
                    if key.fd == self._output:
                        self._read(where)
                    else:
                        unsent = self._write(unsent, where)
                        if not unsent:
                            selector.unregister(self._input)
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def close(self) -> None:
        """Ends the program's input, waits for it to leave, and kills it and what it started when it does not."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _read(self, where: str) -> None:
        chunk = os.read(self._output, 1 << 16)
        if not chunk:
            raise self._ended(where)
        self._unread += chunk
        if len(self._unread) > _MAX_LINE_BYTES:
            raise InvalidArgument(f"{where} printed more than {_MAX_LINE_BYTES} bytes; expected one line of scores")

    def _write(self, unsent: bytes, where: str) -> bytes:
        try:
            return unsent[os.write(self._input, unsent) :]
        except BrokenPipeError as error:
            raise self._ended(where) from error

    def _ended(self, where: str) -> Unavailable:
        try:
            code = self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            return Unavailable(f"{where} closed its input or output; expected it to go on until its input ends")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return Unavailable(f"{where} {how} without an answer; what it complained of stands above")
