"""Every curl command of the documents answers what they show, against a running stack. ``…`` stands for anything."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.running import Up, running

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"security.md", "install-log.md"}
"""Its commands need keys and certificates, and are run by a test of their own; and what an installation said once."""
DOCUMENTS = [
    ROOT / "README.md",
    *(document for document in sorted((ROOT / "docs").rglob("*.md")) if document.name not in ELSEWHERE),
]

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


class Example(NamedTuple):
    command: list[str]
    """As a shell would split it."""
    shown: str
    """What stands under it."""


def examples() -> list[Example]:
    """A command begins with ``$ curl`` and goes on while a quote is open; until the next one, its output follows."""
    found: list[Example] = []
    for document in DOCUMENTS:
        for block in re.findall(r"^```\w*\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE):
            for text in re.findall(r"^\$ (curl .*?)(?=^\$ |\Z)", block, re.DOTALL | re.MULTILINE):
                lines = text.splitlines()
                length = next(n for n in range(1, len(lines) + 1) if "\n".join(lines[:n]).count("'") % 2 == 0)
                shown = "\n".join(lines[length:])
                found.append(Example(shlex.split("\n".join(lines[:length])), shown.strip()))
    return found


def pattern(shown: str) -> str:
    """What the output must match: line breaks and spaces around ``…`` belong to it."""
    return ".*?".join(re.escape(part) for part in re.split(r"\s*…\s*", shown))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The shipped pair, served as a newcomer does."""
    with running(tmp_path_factory.mktemp("shipped")) as up:
        yield up


def test_no_command_is_overlooked() -> None:
    told = [line for document in DOCUMENTS for line in document.read_text().splitlines()]
    assert len(examples()) == sum(line.lstrip("$ ").startswith("curl ") for line in told)
    paths = {word.rpartition(":8080")[2] for example in examples() for word in example.command}
    assert {"/v1/models", "/v1/completions", "/v1/chat/completions"} <= paths


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.command[2].rpartition("/")[2])
def test_a_command_answers_what_is_shown(example: Example, shipped: Up, stack: Up) -> None:
    # The tiny pair has a chat template, whatever it says; the shipped one knows the answers that are shown.
    up = stack if any("/chat/" in word for word in example.command) else shipped
    command = [word.replace("http://localhost:8080", up.told["http"][0]) for word in example.command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(pattern(example.shown), done.stdout.strip(), re.DOTALL), done.stdout
