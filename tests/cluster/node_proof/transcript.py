"""What was run and what it said, as a page of documentation."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path


class Transcript:
    """Runs commands and keeps what they said, without the paths of the machine."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """``names``: texts that stand for the machine, and what to write instead."""
        self._names = dict(names)
        self._parts: list[str] = []
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Adds a paragraph."""
        print(text, flush=True)
        self._parts.append(text)

    def run(self, *command: str, quietly: bool = False, **environ: str) -> str:
        """Runs a command and keeps it with its output, or alone.

        Raises:
            SystemExit: it failed; all it said is printed.
        """
        shown = shlex.join(command)
        print(f"[{self.seconds:6.1f} s] {shown}", flush=True)
        done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{shown} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        said = "" if quietly else done.stdout.rstrip() + "\n" if done.stdout.strip() else ""
        if said:
            print(said, flush=True)
        self._parts.append(f"```\n$ {self._plain(shown)}\n{self._plain(said)}```")
        return done.stdout

    def write(self, file: Path) -> None:
        """Writes all of it down."""
        file.write_text("\n\n".join(self._parts) + "\n")

    def _plain(self, text: str) -> str:
        for name, instead in self._names.items():
            text = text.replace(name, instead)
        return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
