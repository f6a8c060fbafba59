"""How long refusals take, seen by a process with nothing else to do. Run as ``python -m benchmarks.refused GRPC HTTP``.

It asks over both doors in turn, for one token, at a steady rate and whatever became of the last; after so many seconds
it prints the times of what was refused as JSON: ``{"grpc": [seconds…], "http": [seconds…]}``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from contextlib import suppress

import grpc
import grpc.aio
import httpx

from tandem.rpc.channel import open_channel
from tandem.v1 import generation_pb2 as pb
from tandem.v1.generation_pb2_grpc import GenerationServiceStub

PROMPT = list(range(100, 132))
PATIENCE_SECONDS = 5.0
AHEAD_OF_OTHERS = -10
"""Its niceness, where it may: it is to see the server's time, and not how long itself waits for a core."""


class Witness:
    """Sees refusals."""

    def __init__(self, address: str, url: str) -> None:
        self._channel = open_channel(address)
        self._stub = GenerationServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._http = httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS)
        self.seconds: dict[str, list[float]] = {"grpc": [], "http": []}

    async def look(self, rate: float, seconds: float) -> None:
        """Asks so many times a second."""
        async with self._http, asyncio.TaskGroup() as group:
            for number in range(int(rate * seconds)):
                group.create_task(self._over_http() if number % 2 else self._over_grpc())
                await asyncio.sleep(1 / rate)
        await self._channel.close()

    async def _over_grpc(self) -> None:
        request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=PROMPT), max_tokens=1)
        began = time.perf_counter()
        try:
            async for _ in self._stub.Generate(request, timeout=PATIENCE_SECONDS):
                pass
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                self.seconds["grpc"].append(time.perf_counter() - began)

    async def _over_http(self) -> None:
        body = {"prompt": PROMPT, "max_tokens": 1}
        began = time.perf_counter()
        with suppress(httpx.TimeoutException):
            answer = await self._http.post("/v1/completions", json=body)
            if answer.status_code == 429:
                self.seconds["http"].append(time.perf_counter() - began)


def watch(address: str, url: str, seconds: float) -> subprocess.Popen[str]:
    """Starts a witness; its output is what it has seen."""
    command = [sys.executable, "-m", "benchmarks.refused", address, url, "--seconds", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, AHEAD_OF_OTHERS)

    gc.freeze()  # nor how long it takes itself to collect garbage

    async def look() -> Witness:
        witness = Witness(asked.address, asked.url)
        await witness.look(asked.rate, asked.seconds)
        return witness

    print(json.dumps(asyncio.run(look()).seconds))


if __name__ == "__main__":
    main()
