"""``tandem chat`` as a person uses it: at a terminal, and from a pipe."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tandem import Client
from tandem.chat_template import ChatTemplate
from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2 as pb
from tandem.v1.generation_pb2_grpc import GenerationServiceStub
from tests.e2e.running import ENVIRONMENT, PATIENCE_SECONDS, Up, tandem

ASKED, TAKEN = r"\x1b\[\?2004h", r"\x1b\[\?2004l"
"""What a terminal is sent where an input begins to be read, and where it has been."""
FLAGS = ("--seed", "3", "--max-tokens", "12")


def chat(stack: Up, given: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return tandem("chat", "--address", stack.told["grpc"][0], *FLAGS, *flags, input=given)


def saved(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked_directly(client: Client, model: Path, said: list[tuple[str, str]], **options: Any) -> str:
    """What the model answers to messages that its own template writes."""
    template, tokenizer = ChatTemplate.from_pretrained(model), Tokenizer.from_pretrained(model)
    assert template is not None
    text = template.render([{"role": role, "content": content} for role, content in said])
    ids = tokenizer.encode(text, add_special_tokens=False)
    return client.generate(ids, **{"seed": 3, "max_tokens": 12, **options}).text


def piped(*answers: str) -> str:
    """Answers as they come through a pipe that is read as text."""
    return "".join(f"{answer}\n" for answer in answers).replace("\r\n", "\n").replace("\r", "\n")


def test_a_conversation_is_written_by_the_models_template(
    stack: Up, client: Client, tiny_pair: tuple[Path, Path], tmp_path: Path
) -> None:
    told = tmp_path / "told.jsonl"
    done = chat(stack, f"how many?\nselect \\\nname\n/save {told}\n/save {told}\n", "--system", "be brief")
    said = [("system", "be brief"), ("user", "how many?")]
    first = asked_directly(client, tiny_pair[0], said)
    said += [("assistant", first), ("user", "select \nname")]
    second = asked_directly(client, tiny_pair[0], said)
    assert done.stdout == piped(first, second)
    messages = saved(told)
    assert [(one["role"], one["content"]) for one in messages] == [*said, ("assistant", second)]
    assert messages[-1]["usage"]["completion_tokens"] <= 12
    assert "mtad, seed 3" in done.stderr
    assert "error: cannot write" in done.stderr  # nothing is overwritten
    assert done.returncode == 1


def test_commands_do_what_help_says(stack: Up, client: Client, tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    told = tmp_path / "told.jsonl"
    lines = ["/help", "/method coupled", "/set draft_length 6", "/set max_tokens 8", "/trace", "how many?", "/seed 9"]
    lines += ["/retry", "/set", "/trace", "/set draft_length default", f"/save {told}", "/reset", "how many?"]
    lines += [f"/save {tmp_path / 'again'}", "/quit", "never asked"]
    done = chat(stack, "\n".join(lines) + "\n")
    assert done.returncode == 0, done.stderr
    said = [("user", "how many?")]
    answers = [
        asked_directly(client, tiny_pair[0], said, method="coupled", max_tokens=8, seed=seed) for seed in (3, 9, 9)
    ]
    assert done.stdout == piped(*answers)
    assert [one["seed"] for one in saved(told) if one["role"] == "assistant"] == [9]
    assert len(saved(tmp_path / "again")) == 2
    assert done.stderr.count("accepted  refused") == 2  # the rounds of the first two answers
    assert "draft_length=6" in done.stderr
    for command in ("/method", "/set", "/seed", "/trace", "/reset", "/retry", "/save", "/quit"):
        assert command in done.stderr


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("/nothing", "/help"),
        ("/method magic", "magic"),
        ("/set temperature warm", "temperature"),
        ("/set top_p 7", "top_p"),
        ("/set tempr 1", "tempr"),
        ("/retry", "nothing has been asked"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_conversation_goes_on(stack: Up, line: str, named: str) -> None:
    done = chat(stack, f"{line}\nhow many?\n")
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert named in done.stderr
    assert done.stdout.strip()


def test_a_model_without_a_template_is_spoken_to_plainly_and_it_says_so_once() -> None:
    done = tandem("chat", "--target", "models/target", "--method", "coupled", *FLAGS, input="SQL:\nSQL:\n")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == second  # neither knows of the other
    assert done.stderr.count("no chat template") == 1


def test_a_tokenizer_that_is_not_the_models_is_refused(stack: Up) -> None:
    done = chat(stack, "how many?\n", "--tokenizer", "models/target")
    assert done.returncode == 2
    assert "another tokenizer" in done.stderr


class Terminal:
    """A program at a pseudo-terminal."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        unset = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        settings = {"TERM": "xterm", "COLUMNS": "200", "PROMPT_TOOLKIT_NO_CPR": "1", **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tandem.cli.main", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=unset | ENVIRONMENT | settings,
            start_new_session=True,
            preexec_fn=_make_controlling,
        )
        os.close(slave)
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def enter(self, line: str, answer: str) -> str:
        """Types a line once it is asked for, and returns what is shown up to the answer's end."""
        self.wait_for(ASKED)
        self.type(f"{line}\r")
        self.wait_for(TAKEN)
        return self.wait_for(answer)

    def leave(self, keys: str = "\x04") -> None:
        self.wait_for(ASKED)
        self.type(keys)
        assert self.process.wait(30) == 0

    def wait_for(self, pattern: str) -> str:
        """What is shown up to where the pattern ends; the rest is left for the next call."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := re.search(pattern, self.shown, re.DOTALL)) is None:
            assert time.monotonic() < deadline, f"still no {pattern!r} in {self.shown!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode(errors="replace")
                except OSError:
                    assert re.search(pattern, self.shown, re.DOTALL), f"it ended without {pattern!r}: {self.shown!r}"
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


def _make_controlling() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(stack: Up | tuple[Path, Path], folder: Path, **environment: str) -> Iterator[Terminal]:
    """With a running stack, or two models of its own."""
    if isinstance(stack, Up):
        source = ["--address", stack.told["grpc"][0]]
    else:
        source = ["--target", str(stack[0]), "--draft", str(stack[1]), "--dtype", "float32"]
    opened = Terminal("chat", *source, XDG_STATE_HOME=str(folder), **environment)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("served", [True, False])
def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(
    stack: Up, tiny_pair: tuple[Path, Path], tmp_path: Path, served: bool
) -> None:
    told = tmp_path / "told.jsonl"
    with terminal(stack if served else tiny_pair, tmp_path) as person:
        person.enter("/method autoregressive", "is autoregressive")
        person.enter("/set ignore_eos true", "is True")
        person.enter("/set max_tokens 420", "is 420")
        person.enter("how many?", ".{12}")
        person.type("\x03")
        person.wait_for("stopped")
        person.wait_for(r"tokens \(cancelled\)")
        person.enter("/set max_tokens 5", "is 5")
        person.enter("and now?", r"5 tokens \(length\)")
        person.enter(f"/save {told}", "messages are in")
        person.leave("dropped\x03\x04")  # nothing runs: drops what was typed; and leaves
    messages = saved(told)
    assert [one["content"] for one in messages if one["role"] == "user"] == ["how many?", "and now?"]
    stopped = messages[1]
    assert stopped["finish_reason"] == "cancelled"
    assert 0 < stopped["usage"]["completion_tokens"] < 420
    if not served:
        return
    with grpc.insecure_channel(stack.told["grpc"][0]) as channel:
        stub: Any = GenerationServiceStub(channel)  # type: ignore[no-untyped-call]
        session = stub.GetSession(pb.GetSessionRequest(session_id=stopped["session_id"]), timeout=10)
    assert session.finished
    assert session.reason == pb.FINISH_REASON_CANCELLED


def test_ctrl_c_twice_leaves_an_answer_that_does_not_end(stack: Up, tmp_path: Path) -> None:
    (orchestrator,) = stack.pids("orchestrator")
    with terminal(stack, tmp_path) as person:
        person.enter("/set ignore_eos true", "is True")
        person.enter("/set max_tokens 420", "is 420")
        person.enter("how many?", ".{12}")
        os.kill(orchestrator, signal.SIGSTOP)
        try:
            person.type("\x03")
            time.sleep(0.5)
            assert "stopped" not in person.wait_for("")
            person.type("\x03")
            person.wait_for("stopped")
        finally:
            os.kill(orchestrator, signal.SIGCONT)
        person.enter("/set max_tokens 5", "is 5")
        person.enter("and now?", r"5 tokens \(length\)")
        person.leave()


def test_what_was_typed_is_there_the_next_time_and_may_have_several_lines(stack: Up, tmp_path: Path) -> None:
    with terminal(stack, tmp_path) as person:
        person.enter("/set max_tokens 3", "is 3")
        person.enter("one\x1b\rtwo\\\rthree", "tokens/s")
        person.leave()
    assert (tmp_path / "tandem" / "chat_history").stat().st_mode & 0o077 == 0
    told = tmp_path / "told.jsonl"
    with terminal(stack, tmp_path) as person:
        person.enter("\x10", "tokens/s")  # what was typed last
        person.enter(f"/save {told}", "messages are in")
        person.leave()
    assert saved(told)[0]["content"] == "one\ntwo\nthree"


@pytest.mark.parametrize("no_color", [False, True])
def test_tokens_are_told_apart_with_and_without_colour(stack: Up, tmp_path: Path, no_color: bool) -> None:
    with terminal(stack, tmp_path, **({"NO_COLOR": "1"} if no_color else {})) as person:
        person.enter("/seed 3", "is 3")
        person.enter("/set max_tokens 30", "is 30")
        answer = person.enter("how many?", "tokens/s")
    styles = set(re.findall(r"\x1b\[([\d;]+)m", answer))
    assert {"1", "4"} <= styles if no_color else {"1;32", "1;36"} <= styles
    assert not no_color or not any(number.startswith("3") for style in styles for number in style.split(";"))
