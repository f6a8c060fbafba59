"""docs/security.md: every command in it is run, in order, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from draft_service.settings import DraftSettings
from orchestrator.settings import OrchestratorSettings
from tandem.api_keys import read_entries
from tests.e2e.running import ENVIRONMENT, Up, running
from verify_service.settings import VerifySettings

DOC = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", DOC, re.DOTALL | re.MULTILINE)
COMMANDS = [block for kind, block in BLOCKS if kind == "bash"]
LINES = [block for kind, block in BLOCKS if not kind]


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, folder: Path, models: tuple[str, ...]) -> None:
        self.folder = folder
        self.models = models
        self.up: Up | None = None

    def run(self, block: str) -> str:
        """A block of commands, against the stack that runs."""
        script = f'set -eo pipefail\ntandem() {{ {sys.executable} -m tandem.cli.main "$@"; }}\n{block}'
        environment = os.environ | ENVIRONMENT
        if self.up is not None:
            port = self.up.told["http"][0].rpartition(":")[2]
            script = script.replace("localhost:8080", f"localhost:{port}")
            environment["TANDEM_CLIENT_ADDRESS"] = self.up.told["grpc"][0]
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=150
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, block: str, held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
        """A block that ends with ``tandem up``."""
        *exports, command = block.strip().splitlines()
        for line in exports:
            for word in line.removeprefix("export ").split():
                monkeypatch.setenv(*word.split("=", 1))
        assert command.startswith("tandem up ")
        self.up = held.enter_context(running(self.folder, *self.models, *command.removeprefix("tandem up ").split()))


@pytest.mark.timeout(600)
def test_what_the_page_says_is_done(
    tiny_pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, draft = tiny_pair
    reader = Reader(tmp_path, ("--target", str(target), "--draft", str(draft)))
    keys, plain_up, calls, delete, certificates, secure_up, secure_calls, change = COMMANDS
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.chdir(tmp_path)
    reader.run(keys)
    with ExitStack() as held:
        reader.start(plain_up, held, monkeypatch)
        said = reader.run(calls)
        assert said.count("\n") >= 2
        assert "tandem-" not in said
        session_id = made(reader)
        assert reader.run(delete.replace("SESSION", session_id)) == f"deleted {session_id}\n"
    reader.up = None
    reader.run(certificates)
    with ExitStack() as held:
        reader.start(secure_up, held, monkeypatch)
        assert reader.up is not None
        assert reader.up.told["http"][0].startswith("https://")
        assert reader.run(secure_calls).endswith("ready\n")
        before = (tmp_path / "public.pem").read_text()
        reader.run(change)
        assert (tmp_path / "public.pem").read_text() != before
        assert reader.run(secure_calls).endswith("ready\n")


def made(reader: Reader) -> str:
    """A session of alice's."""
    return reader.run(
        "tandem generate x --max-tokens 4 --json --api-key-file alice.key"
        f" | {sys.executable} -c 'import json, sys; print(json.load(sys.stdin)[\"session_id\"])'"
    ).strip()


def test_the_line_shown_is_one_of_a_key_file() -> None:
    (line,) = LINES
    (entry,) = read_entries(line)
    assert (entry.name, entry.max_sessions, entry.requests_per_minute) == ("alice", 8, 600)


def test_flags_that_are_mentioned_exist() -> None:
    roles = (DraftSettings, OrchestratorSettings, VerifySettings)
    known = {f"--{name.replace('_', '-')}" for role in roles for name in role.model_fields}
    commands = {"--append", "--api-key-file", "--no-history"}
    prose = re.sub(r"^```.*?^```", "", DOC, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", prose)) <= known | commands
