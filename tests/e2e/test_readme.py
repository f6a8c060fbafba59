"""What the README tells a newcomer to type does what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import Up

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
TANDEM = str(Path(sys.executable).parent / "tandem")


def commands(program: str) -> list[list[str]]:
    """The commands of a program in the README's blocks, as a shell would split them."""
    found: list[list[str]] = []
    for language, block in BLOCKS:
        if not language and program in block:
            text = re.sub(r"^\$ ", "", block, flags=re.MULTILINE)
            pattern = rf'^(?:\.venv/bin/)?({re.escape(program)}(?:"[^"]*"|[^"\n])*)$'
            found += [shlex.split(match) for match in re.findall(pattern, text, flags=re.MULTILINE)]
    return found


def here(text: str, stack: Up) -> str:
    """The text, with the addresses of the stack that runs."""
    told = stack.told
    return text.replace("localhost:7070", told["grpc"][0]).replace("http://localhost:8080", told["http"][0])


def test_every_make_target_exists() -> None:
    targets = [command[1] for command in commands("make ")]
    assert {"demo", "test", "setup"} <= set(targets)
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_generate_command_streams_a_text(stack: Up) -> None:
    generating = commands("tandem generate")
    assert generating
    for command in generating:
        environment = os.environ | {"TANDEM_CLIENT_ADDRESS": stack.told["grpc"][0]}
        result = subprocess.run(
            [TANDEM, *command[1:], "--max-tokens", "8"], env=environment, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
        assert "seed 1" in result.stderr


@pytest.mark.parametrize("number", [0, 1])
def test_the_python_examples_run(stack: Up, capsys: pytest.CaptureFixture[str], number: int) -> None:
    examples = [block for language, block in BLOCKS if language == "python"]
    assert len(examples) == 2
    exec(compile(here(examples[number], stack), "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("service", ["verify_service", "draft_service", "orchestrator"])
def test_the_services_know_the_flags_that_are_shown(service: str) -> None:
    (command,) = commands(f"python -m {service}")
    told = subprocess.run([sys.executable, "-m", service, "--help"], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0
    for flag in (word for word in command if word.startswith("--")):
        assert flag in told.stdout


def test_up_knows_the_flags_that_are_shown() -> None:
    shown = {word for command in commands("tandem up") for word in command if word.startswith("--")}
    told = subprocess.run(
        [TANDEM, "up", "--help"], capture_output=True, text=True, timeout=60, env=os.environ | {"COLUMNS": "200"}
    )
    assert shown
    assert shown <= set(re.findall(r"--[\w-]+", told.stdout))


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
