from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tandem.decoding.methods import METHODS


def _tandem(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tandem.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"COLUMNS": "120"})


def test_help_lists_the_commands() -> None:
    shown = _tandem("--help")
    assert shown.returncode == 0
    assert all(command in shown.stdout for command in ("up", "generate", "chat", "serve", "demo"))


@pytest.mark.parametrize("command", ["generate", "up"])
def test_help_names_every_method(command: str) -> None:
    shown = "".join(_tandem(command, "--help").stdout.replace("│", " ").split())
    assert [name for name in METHODS if name not in shown] == []


def test_without_a_stack_it_says_how_to_start_one() -> None:
    done = _tandem("generate", "hello", "--address", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--address", "nowhere"), "host:port"),
        (("--address", "127.0.0.1:1", "--target", "x"), "--target"),
        (("--target", "/no/such/model"), "/no/such/model"),
        (("--logit-bias", "7"), "--logit-bias '7' is not a token id and a number"),
        (("--logit-bias", "x=1"), "--logit-bias 'x=1'"),
        (("--logit-bias", "7=1", "--logit-bias", "7=2"), "token 7 twice"),
        (("--json-schema", "/no/such/file"), "/no/such/file cannot be read as a text"),
        (("--grammar", "/"), "/ cannot be read as a text"),
        (("--regex", "a", "--grammar", __file__), "grammar and regex were given"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], named: str) -> None:
    done = _tandem("generate", "hello", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("role", ["draft", "verify", "orchestrator"])
def test_serve_passes_flags_on_to_the_service(role: str) -> None:
    help_text = _tandem("serve", role, "--help")
    assert help_text.returncode == 0
    assert "--ready-file" in help_text.stdout
    wrong = _tandem("serve", role, "--no-such-flag", "1")
    assert wrong.returncode == 2
    assert "no-such-flag" in wrong.stderr


def test_eval_without_its_extra_names_it() -> None:
    program = "import sys; sys.modules['matplotlib'] = None; from tandem.cli.main import main; main()"
    command = [sys.executable, "-c", program, "eval", "report", "/no/such/run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "error: tandem eval needs matplotlib, not installed: pip install 'tandem[eval]'\n"
