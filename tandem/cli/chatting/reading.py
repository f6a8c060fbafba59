"""Where a conversation's inputs come from: a terminal with line editing and history, or a pipe."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

PROMPT, GOES_ON = "> ", "\\"


class Reader(Protocol):
    """Gives inputs."""

    async def read(self) -> str | None:
        """The next one, empty where it was dropped; None when there are no more."""


class LineReader:
    """Lines of standard input. One that ends in a backslash goes on in the next."""

    async def read(self) -> str | None:
        """See `Reader`. Blocks, since between answers nothing else goes on; Ctrl-C ends the program."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # asyncio's own waits for the loop
        try:
            return self._read()
        finally:
            signal.signal(signal.SIGINT, before)

    def _read(self) -> str | None:
        lines: list[str] = []
        while line := sys.stdin.readline():
            lines.append(line.rstrip("\r\n"))
            if not lines[-1].endswith(GOES_ON):
                break
            lines[-1] = lines[-1].removesuffix(GOES_ON)
        return "\n".join(lines) if lines else None


class TerminalReader:
    """A terminal: line editing, several lines, and a history that is kept where ``history`` names a file."""

    def __init__(self, history: Path | None) -> None:
        # Here, not above: a pipe needs none of it, and neither do the other commands.
        from prompt_toolkit import PromptSession
        from prompt_toolkit.history import FileHistory, InMemoryHistory
        from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

        keys = KeyBindings()

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.document.text.endswith(GOES_ON) and buffer.document.is_cursor_at_the_end:
                buffer.delete_before_cursor()
                buffer.insert_text("\n")
            else:
                buffer.validate_and_handle()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        if history is not None:
            history.parent.mkdir(parents=True, exist_ok=True)
            history.touch(mode=0o600)  # what people ask is theirs to read
        kept = InMemoryHistory() if history is None else FileHistory(str(history))
        self._session: PromptSession[str] = PromptSession(
            history=kept, key_bindings=keys, multiline=True, prompt_continuation="… "
        )

    async def read(self) -> str | None:
        """See `Reader`."""
        try:
            return await self._session.prompt_async(PROMPT)
        except KeyboardInterrupt:
            return ""
        except EOFError:
            return None


def history_path() -> Path:
    """Where inputs are kept, after the XDG base directories."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "tandem" / "chat_history"


def is_interactive() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()
