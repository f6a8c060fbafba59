"""What docs/evaluation.md and the README show is true: commands, the experiment in a file, the workflow."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from tandem.cli.main import app
from tandem.evaluation.experiment import Experiment

ROOT = Path(__file__).resolve().parents[2]
GUIDE, README = (ROOT / "docs" / "evaluation.md").read_text(), (ROOT / "README.md").read_text()
_BLOCK = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)
BLOCKS = _BLOCK.findall(GUIDE)


def workflow() -> list[dict[str, Any]]:
    (text,) = (block for language, block in BLOCKS if language == "yaml")
    steps: list[dict[str, Any]] = yaml.safe_load(text)["jobs"]["gate"]["steps"]
    return steps


def shown() -> list[list[str]]:
    """Every `tandem eval` command of the guide, its workflow and the README, without the program's name."""
    texts = [block for language, block in BLOCKS + _BLOCK.findall(README) if not language]
    texts += [step.get("run", "") for step in workflow()]
    lines = [line for text in texts for line in re.findall(r"(?:tandem|tandem\.cli\.main) (eval .*?)\)?$", text, re.M)]
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("command", shown(), ids=" ".join)
def test_every_flag_that_is_shown_exists(command: list[str]) -> None:
    group = typer.main.get_command(app).commands["eval"]  # type: ignore[attr-defined]
    known = group.commands.get(command[1], group)
    names = {name for parameter in known.params for name in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= names


def test_all_kinds_of_commands_are_found() -> None:
    assert len(shown()) >= 9
    assert sum(command[1] == "compare" for command in shown()) == 3


def test_the_experiment_that_is_shown_is_one() -> None:
    (text,) = (block for language, block in BLOCKS if language == "toml")
    experiment = Experiment.model_validate(tomllib.loads(text))
    assert list(experiment.labelled()) == ["autoregressive", "mtad", "mmtad"]


def test_the_checks_of_the_gate_are_those_that_are_listed() -> None:
    listed = dict(re.findall(r"^\|[^|]*\| `(--[\w-]+)` \| ([^|]*?) \|$", GUIDE, flags=re.M))
    told = CliRunner().invoke(app, ["eval", "compare", "--help"], env={"COLUMNS": "250", "TERM": "dumb"}).output
    for option, default in listed.items():
        (line,) = (line for line in told.splitlines() if option in line)
        assert f"[default: {default.replace('−', '-').removesuffix(' (points)')}]" in line
    assert len(listed) == 6
