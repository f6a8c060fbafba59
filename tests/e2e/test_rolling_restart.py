"""All three services, two processes of each, are replaced one after another while clients go on streaming."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tandem import AsyncClient
from tests.e2e.running import ENVIRONMENT, tandem
from tests.support.redis_server import free_port
from tests.support.tiny_pair import make_tokenizer

METHODS = ("autoregressive", "coupled", "mtad", "speculative")
SEEDS = range(3)
NUM_TOKENS = 300
START_SECONDS = 60.0


class Place:
    """A place in the stack: the process that serves there, on the same ports whoever it is."""

    def __init__(self, folder: Path, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._ready_file, self._log = folder / f"{name}.json", folder / f"{name}.log"
        self._command = [sys.executable, "-m", *command, "--ready-file", str(self._ready_file)]
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        port = self.address.rpartition(":")[2] or str(free_port())
        self._ready_file.unlink(missing_ok=True)
        with self._log.open("a") as log:
            options = {"stdout": log, "stderr": log, "env": os.environ | ENVIRONMENT}
            self._process = await asyncio.to_thread(subprocess.Popen, [*self._command, "--port", port], **options)
        give_up = time.monotonic() + START_SECONDS
        while not self._ready_file.exists():
            assert self._process.poll() is None, self.log
            assert time.monotonic() < give_up, self.log
            await asyncio.sleep(0.05)
        self.address = json.loads(self._ready_file.read_text())["address"]

    async def drain(self) -> float:
        """Returns the seconds that it took, as the command tells."""
        done = await asyncio.to_thread(tandem, "drain", self.address)
        assert done.returncode == 0, done.stderr
        assert self._process is not None
        assert self._process.wait(5) == 0, self.log
        said = re.fullmatch(r"\w+ \S+ \(pid \d+\) has handed over and left after ([\d.]+) s\n", done.stdout)
        assert said is not None, done.stdout
        return float(said[1])

    @property
    def log(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
async def places(tmp_path: Path, redis_url: str) -> AsyncIterator[list[Place]]:
    """Verify, draft, orchestrator; two of each, all serving."""
    tokenizer = tmp_path / "tokenizer"
    make_tokenizer(tokenizer)
    found: list[Place] = []
    try:
        for role in ("verify", "draft"):
            command = ("tests.support.table_service", role, str(tokenizer))
            found += [Place(tmp_path, f"{role}-{number}", command) for number in (1, 2)]
        await asyncio.gather(*(place.start() for place in found))
        replicas = [
            part
            for role, pair in itertools.groupby(found, lambda place: place.name.partition("-")[0])
            for part in (f"--{role}", ",".join(place.address for place in pair))
        ]
        command = ("orchestrator", *replicas, "--tokenizer", str(tokenizer), "--redis-url", redis_url)
        doors = [Place(tmp_path, f"orchestrator-{number}", command) for number in (1, 2)]
        found += doors
        await asyncio.gather(*(place.start() for place in doors))
        yield found
    finally:
        for place in found:
            place.kill()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_rolling_restart_of_everything_changes_no_text_and_fails_nobody(places: list[Place]) -> None:
    async with AsyncClient([place.address for place in places if place.name.startswith("orchestrator")]) as client:

        async def text(method: str, seed: int) -> tuple[int, ...]:
            done = await client.generate(
                [1, 2, 3], method=method, seed=seed, max_tokens=NUM_TOKENS, draft_length=4, ignore_eos=True
            )
            return done.token_ids

        wanted = list(itertools.product(METHODS, SEEDS))
        undisturbed = dict(zip(wanted, await asyncio.gather(*(text(*one) for one in wanted)), strict=True))
        assert all(len(tokens) == NUM_TOKENS for tokens in undisturbed.values())

        rolled = asyncio.Event()
        num_texts = 0

        async def keep_asking(method: str, seed: int) -> None:
            nonlocal num_texts
            while not rolled.is_set():
                assert await text(method, seed) == undisturbed[method, seed], (method, seed)
                num_texts += 1

        async def roll() -> dict[str, float]:
            try:
                seconds = {}
                for place in places:
                    await asyncio.sleep(0.5)
                    seconds[place.name] = await place.drain()
                    await place.start()
                return seconds
            finally:
                rolled.set()

        seconds, *_ = await asyncio.gather(roll(), *(keep_asking(*one) for one in wanted))
        print(f"{num_texts} texts; left after {seconds}")
        assert num_texts >= len(wanted)
        moved = sum(place.log.count("placing the session anew") for place in places)
        assert moved >= 4  # at least one session for each replica that left
        assert all(value < 5 for value in seconds.values()), seconds
