"""``tandem generate`` as a stage of a pipe: a prompt a line in, a JSON line a text out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tandem import Client
from tests.e2e.running import ENVIRONMENT, Up, tandem

PROMPT = "select name, age from people"


def lines(*requests: object) -> str:
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in requests)


def answered(stack: Up, given: str, *flags: str, code: int = 0) -> list[dict[str, Any]]:
    done = tandem("generate", *flags, "--address", stack.told["grpc"][0], input=given)
    assert done.returncode == code, done.stderr
    assert done.stderr == ""  # no terminal, no progress
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_results_come_in_the_order_of_the_input(stack: Up, client: Client) -> None:
    asked = [{"prompt": PROMPT, "seed": seed, "max_tokens": 120 if seed % 3 == 0 else 3} for seed in range(9)]
    made = answered(stack, lines(*asked), "--jsonl", "--concurrency", "4")
    assert [one["seed"] for one in made] == list(range(9))
    for one, options in zip(made, asked, strict=True):
        assert one["token_ids"] == list(client.generate(**options).token_ids)  # type: ignore[arg-type]


def test_a_lines_own_options_win_over_the_flags(stack: Up) -> None:
    given = lines({"prompt": PROMPT}, {"prompt": [0, 40, 41], "method": "coupled", "max_tokens": 2, "stop": "x"})
    first, second = answered(stack, given, "-", "--jsonl", "--method", "block", "--max-tokens", "5", "--seed", "3")
    assert (first["method"], first["seed"], len(first["token_ids"])) == ("block", 3, 5)
    assert (second["method"], second["seed"], second["prompt_token_ids"]) == ("coupled", 3, [0, 40, 41])
    assert len(second["token_ids"]) <= 2


def test_an_error_is_its_lines_own(stack: Up) -> None:
    good = {"prompt": PROMPT, "max_tokens": 2}
    given = lines(good, "not JSON", {"prompt": PROMPT, "tempr": 1}, {"max_tokens": 2}, "", good | {"top_p": 7}, good)
    made = answered(stack, given, "--jsonl", code=1)
    assert [set(one) == {"error"} for one in made] == [False, True, True, True, True, False]
    assert "tempr" in made[2]["error"]
    assert "prompt" in made[3]["error"]
    assert "top_p" in made[4]["error"]


def test_plain_lines_are_prompts(stack: Up) -> None:
    made = answered(stack, "select name\n\nhow many\r\n", "--lines", "--max-tokens", "2")
    assert len(made) == 2
    assert made[1]["prompt_token_ids"] != made[0]["prompt_token_ids"]


def started(arguments: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tandem.cli.main", "generate", *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env=os.environ | ENVIRONMENT, **pipes)  # type: ignore[call-overload,no-any-return]


def test_a_result_is_there_before_the_next_line_is_given(stack: Up) -> None:
    with started(["--lines", "--max-tokens", "3", "--address", stack.told["grpc"][0]]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdin.write(PROMPT + "\n")
            process.stdin.flush()
            assert len(json.loads(process.stdout.readline())["token_ids"]) <= 3
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_reader_that_leaves_ends_it_quietly(stack: Up) -> None:
    with started(["--lines", "--max-tokens", "3", "--address", stack.told["grpc"][0]]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(PROMPT + "\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write((PROMPT + "\n") * 50)
        process.stdin.flush()  # and stays open: the reader alone ends it
        assert process.wait(30) == 141
        assert process.stderr.read() == ""


def test_the_models_in_this_process_answer_the_same(stack: Up, tiny_pair: tuple[Path, Path]) -> None:
    target, draft = tiny_pair
    given = lines(*({"prompt": PROMPT, "seed": seed, "max_tokens": 9, "top_k": 3} for seed in range(3)), {"prompt": 1})
    served = answered(stack, given, "--jsonl", code=1)
    done = tandem(
        "generate", "--jsonl", "--target", str(target), "--draft", str(draft), "--dtype", "float32", input=given
    )
    assert done.returncode == 1, done.stderr
    local = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one.get("token_ids") for one in local] == [one.get("token_ids") for one in served]
    assert local[3] == served[3]


@pytest.mark.parametrize("flags", [("--jsonl", "a prompt"), ()])
def test_a_prompt_comes_from_one_place(flags: tuple[str, ...]) -> None:
    done = tandem("generate", *flags, input="")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
