"""What ``tandem up`` promises of its processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tandem import Client
from tandem.generation import Options
from tests.e2e.running import ENVIRONMENT, Up, alive, running, tandem
from tests.support.tiny_pair import make_tokenizer

PROMPT = "select name"


@pytest.fixture(scope="module")
def stack_to_break(tiny_pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    target, draft = tiny_pair
    config = json.dumps({"method": "mmtad", "model": str(draft), "num_speculative_tokens": 3})
    arguments = ("--target", str(target), "--speculative-config", config, "--orchestrators", "2")
    with running(tmp_path_factory.mktemp("stack_to_break"), *arguments) as up:
        yield up


def test_the_ready_file_tells_what_serves_where(stack: Up) -> None:
    told = stack.told
    assert set(told) == {"grpc", "http", "processes"}
    assert sorted(process["role"] for process in told["processes"]) == ["draft", "orchestrator", "store", "verify"]
    modules = {"draft": "draft_service", "verify": "verify_service", "orchestrator": "orchestrator", "store": "redis"}
    for process in told["processes"]:
        assert modules[process["role"]] in " ".join(psutil.Process(process["pid"]).cmdline())
        assert psutil.Process(process["pid"]).ppid() == stack.process.pid
        host, port = process["address"].rsplit(":", 1)
        socket.create_connection((host, int(port)), 5).close()
    assert told["grpc"] == [process["address"] for process in told["processes"] if process["role"] == "orchestrator"]


def test_every_service_answers_health_and_has_metrics(stack: Up) -> None:
    for process in stack.told["processes"]:
        if process["role"] == "store":
            continue
        with grpc.insecure_channel(process["address"]) as channel:
            status = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        with urllib.request.urlopen(process["metrics"], timeout=5) as answer:
            assert b"tandem:" in answer.read()
    ports = [process["metrics"].removesuffix("/metrics") for process in stack.told["processes"] if process["metrics"]]
    assert len(ports) == 3
    for port in (*ports, *stack.told["http"]):
        for path in ("healthz", "readyz"):
            with urllib.request.urlopen(f"{port}/{path}", timeout=5) as answer:
                assert answer.status == 200


def test_it_says_which_store_it_uses(stack: Up) -> None:
    assert "redis-server" in stack.output


@pytest.mark.parametrize("role", ["draft", "verify", "orchestrator", "store"])
def test_a_killed_process_is_restarted_where_it_was_and_it_says_so(stack_to_break: Up, role: str) -> None:
    up = stack_to_break
    before = up.told
    up.kill_child(role)
    after = up.told
    assert [process["address"] for process in after["processes"]] == [p["address"] for p in before["processes"]]
    assert (after["grpc"], after["http"]) == (before["grpc"], before["http"])
    assert "was killed by SIGKILL" in up.output
    assert f"{role}" in up.output.split("is back at")[-2].splitlines()[-1]
    with Client(after["grpc"]) as client:
        assert len(client.generate(PROMPT, max_tokens=8, ignore_eos=True, timeout=60).token_ids) == 8


def test_orchestrators_are_rolled_by_draining_them(stack_to_break: Up) -> None:
    up = stack_to_break
    before = up.told
    done = tandem("drain", "--ready-file", str(up.ready_file), "--role", "orchestrator")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.count("is back") for line in done.stdout.splitlines()] == [0, 1, 0, 1]
    assert up.told["grpc"] == before["grpc"]
    assert not set(up.pids("orchestrator")) & {p["pid"] for p in before["processes"]}
    with Client(up.told["grpc"]) as client:
        assert len(client.generate(PROMPT, max_tokens=8, ignore_eos=True, timeout=60).token_ids) == 8


def test_servers_defaults_are_as_started(stack_to_break: Up) -> None:
    with Client(stack_to_break.told["grpc"]) as client:
        assert client.generate(PROMPT, max_tokens=4).method == "mmtad"


def test_a_session_is_resumed_at_another_orchestrator(stack_to_break: Up) -> None:
    first, second = stack_to_break.told["grpc"]
    with Client(first) as here, Client(second) as there:
        whole = here.generate(PROMPT, seed=6, max_tokens=24, ignore_eos=True)
        with here.stream(PROMPT, seed=6, max_tokens=24, ignore_eos=True) as stream:
            part = next(stream)
            session_id = stream.session_id
        position = part.position + len(part.token_ids)
        with there.resume(session_id, position, part.digest, timeout=60) as rest:
            token_ids = part.token_ids + tuple(token for part in rest for token in part.token_ids)
    assert token_ids == whole.token_ids


@pytest.mark.parametrize(
    ("role", "method"),
    [
        # With its only draft process dead the target goes on alone: only this method's text does not depend on that.
        ("draft", "coupled"),
        ("verify", "coupled"),
        ("verify", "mtad"),
        ("orchestrator", "coupled"),
        ("orchestrator", "mtad"),
    ],
)
def test_a_text_survives_the_death_of_processes_in_its_middle(stack_to_break: Up, role: str, method: str) -> None:
    up = stack_to_break
    asked: Options = {"seed": 9, "max_tokens": 200, "ignore_eos": True, "method": method}
    with Client(up.told["grpc"]) as client:
        up.wait_until(lambda: client.generate(PROMPT, max_tokens=4).usage.num_spec_steps > 0, "somebody drafts")
        whole = client.generate(PROMPT, timeout=100, **asked)
        with client.stream(PROMPT, timeout=100, **asked) as stream:
            parts = [next(stream)]
            before = up.pids(role)
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            parts += stream
    assert sum(len(part.token_ids) for part in parts) == 200
    assert stream.generation.token_ids == whole.token_ids
    assert "".join(part.text for part in parts) == stream.generation.text == whole.text
    up.wait_until(lambda: not set(before) & set(up.pids()), f"every {role} is back")


def test_ctrl_c_leaves_no_process(stack_to_break: Up) -> None:
    pids = stack_to_break.pids()
    assert alive(pids) == pids
    assert stack_to_break.interrupt() == 0
    assert alive(pids) == []
    assert not stack_to_break.ready_file.exists()


def _refused(*arguments: str) -> str:
    """The one line with which ``tandem up`` refuses to start."""
    done = tandem("up", "--port", "0", "--http-port", "0", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stdout + done.stderr
    return line


def test_pickled_weights_are_refused(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    target, draft = tiny_pair
    folder = tmp_path / "pickled"
    shutil.copytree(target, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    line = _refused("--target", str(folder), "--draft", str(draft))
    assert "safetensors" in line
    assert str(folder) in line


def test_models_with_different_tokenizers_are_refused(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    target, draft = tiny_pair
    folder = tmp_path / "other"
    shutil.copytree(draft, folder)
    make_tokenizer(folder, corpus=("quite another text to learn merges from", "lorem ipsum dolor sit amet"))
    line = _refused("--target", str(target), "--draft", str(folder))
    assert "different tokenizers" in line
    assert str(target) in line
    assert str(folder) in line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--target", "/no/such/folder"), "/no/such/folder"),
        (("--drafts", "0"), "drafts"),
        (("--speculative-config", '{"method": "magic"}'), "magic"),
        (("--speculative-config", '{"num_speculative_tokens": 33}'), "draft_length is 33"),
        (("--speculative-config", '{"method": "mtad"}', "--method", "mtad"), "--method and the method"),
        (("--port", "70000"), "port"),
        (("--ready-file", "/no/such/folder/ready.json"), "/no/such/folder/ready.json"),
    ],
)
def test_what_cannot_be_started_is_refused(arguments: tuple[str, ...], named: str) -> None:
    assert named in _refused(*arguments)


def test_a_taken_port_is_refused(tiny_pair: tuple[Path, Path], stack: Up) -> None:
    target, draft = tiny_pair
    port = stack.told["grpc"][0].rsplit(":", 1)[1]
    line = _refused("--target", str(target), "--draft", str(draft), "--port", port)
    assert port in line
    assert "taken" in line


def test_an_unknown_method_is_refused(tiny_pair: tuple[Path, Path]) -> None:
    target, draft = tiny_pair
    assert "magic" in _refused("--target", str(target), "--draft", str(draft), "--method", "magic")


def test_ctrl_c_while_starting_leaves_no_process(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    target, draft = tiny_pair
    up = Up(tmp_path, ("--target", str(target), "--draft", str(draft)))
    up.wait_until(lambda: len(psutil.Process(up.process.pid).children()) >= 3, "store and models are starting")
    pids = [child.pid for child in psutil.Process(up.process.pid).children()]
    assert up.interrupt() == 0
    assert alive(pids) == []


def test_a_killed_parent_leaves_no_process(tiny_pair: tuple[Path, Path], tmp_path: Path) -> None:
    target, draft = tiny_pair
    up = Up(tmp_path, ("--target", str(target), "--draft", str(draft)))
    up.wait_until(lambda: len(psutil.Process(up.process.pid).children()) >= 3, "store and models are starting")
    children = psutil.Process(up.process.pid).children()
    up.process.kill()
    up.process.wait()
    _, left = psutil.wait_procs(children, timeout=10)
    assert [child for child in left if alive([child.pid])] == []


def test_generate_streams_the_text_to_stdout_and_the_figures_to_stderr(stack: Up) -> None:
    address = stack.told["grpc"][0]
    options = ("--address", address, "--seed", "7", "--max-tokens", "12", "--method", "block")
    shown = tandem("generate", PROMPT, *options)
    with Client(address) as client:
        made = client.generate(PROMPT, seed=7, max_tokens=12, method="block")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == made.text + "\n"
    assert "block, seed 7 · 12 tokens" in shown.stderr
    from_stdin = tandem("generate", "-", *options, "--json", input=PROMPT)
    assert made.text in json.loads(from_stdin.stdout)["text"]
    traced = tandem("generate", PROMPT, *options, "--trace")
    assert traced.stdout == shown.stdout
    assert traced.stderr.count("drafted") >= made.usage.num_spec_steps


def test_generate_in_one_process(tiny_pair: tuple[Path, Path], stack: Up) -> None:
    target, draft = tiny_pair
    options = ("--seed", "7", "--max-tokens", "12", "--method", "coupled")
    models = ("--target", str(target), "--draft", str(draft), "--dtype", "float32")
    alone = tandem("generate", PROMPT, *options, *models)
    served = tandem("generate", PROMPT, *options, "--address", stack.told["grpc"][0])
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout == served.stdout
    adjusting = (
        "--presence-penalty",
        "-1.5",
        "--frequency-penalty",
        "0.5",
        "--logit-bias",
        "9=3",
        "--logit-bias",
        "7=-2",
    )
    adjusted = tandem("generate", PROMPT, *options, *adjusting, *models)
    assert adjusted.returncode == 0, adjusted.stderr
    with Client(stack.told["grpc"]) as client:
        made = client.generate(
            PROMPT,
            seed=7,
            max_tokens=12,
            method="coupled",
            presence_penalty=-1.5,
            frequency_penalty=0.5,
            logit_bias={9: 3.0, 7: -2.0},
        )
    assert adjusted.stdout == made.text + "\n" != alone.stdout


def test_ctrl_c_cancels_the_session(stack: Up) -> None:
    asked: Options = {"method": "mtjd", "draft_length": 1, "max_tokens": 490}
    with Client(stack.told["grpc"]) as client:  # a text that does not end by itself before it is cancelled
        seed = next(seed for seed in range(50) if len(client.generate(PROMPT, seed=seed, **asked).token_ids) == 490)
    command = [sys.executable, "-m", "tandem.cli.main", "generate", PROMPT, "--address", stack.told["grpc"][0]]
    command += ["--max-tokens", "490", "--method", "mtjd", "--draft-length", "1", "--seed", str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | ENVIRONMENT)
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    with Client(stack.told["grpc"]) as client:
        stack.wait_until(lambda: client.describe().num_sessions == 0, "the session has ended")


def test_a_dead_port_is_an_error_that_says_what_to_do() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    done = tandem("generate", PROMPT, "--address", address)
    assert done.returncode == 1
    assert address in done.stderr
    assert "Traceback" not in done.stderr
