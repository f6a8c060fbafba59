"""What becomes of the service when more is asked than it can do: goodput, and how long anybody waits for which answer.

    python -m benchmarks.overload [--loads 0.5,1,2,10] [--seconds 15]

Requests arrive by a Poisson process, whatever became of those before them (open loop). A client that is refused asks
again *at once*, up to ``--attempts`` times: the naive retrier, who is told when to come back and does not listen. The
replicas serve ``--batch`` sessions every ``--pass-ms``, which bounds the service; orchestrator and Redis are real.

Goodput counts whole texts that came within ``--deadline``. Times are the clients': of texts from the request that was
admitted to its end. Those of refusals, over gRPC and HTTP, are a witness's (`benchmarks.refused`), a process that makes
forty requests a second beside the load: the load's own clients are as late to look as they are busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

import grpc
import grpc.aio

from benchmarks.front import front
from benchmarks.refused import PROMPT, watch
from tandem.rpc.channel import open_channel
from tandem.v1 import generation_pb2 as pb
from tandem.v1.generation_pb2_grpc import GenerationServiceStub

TOKENS_A_ROUND = 4
NUM_CONNECTIONS = 8
WARM_UP_SECONDS = 3.0
BEHIND_OTHERS = 10
"""The clients' niceness: they share a core with the replicas and Redis, whose place is on machines of their own."""


@dataclass
class _Seen:
    """What clients saw of the requests that arrived while it was looked at."""

    served: list[float] = field(default_factory=list)
    refused: int = 0
    arrivals: int = 0
    given_up: int = 0
    late: int = 0
    failed: dict[str, int] = field(default_factory=dict)


class _Clients:
    """Makes requests as they come, and retries as it should not."""

    def __init__(self, address: str, max_tokens: int, deadline: float, attempts: int) -> None:
        self._channels = [open_channel(address) for _ in range(NUM_CONNECTIONS)]
        self._stubs = [GenerationServiceStub(channel) for channel in self._channels]  # type: ignore[no-untyped-call]
        self._request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=PROMPT), max_tokens=max_tokens, ignore_eos=True)
        self._deadline = deadline
        self._attempts = attempts
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen = _Seen()

    async def arrive(self, rate: float, seconds: float) -> None:
        """Requests at that rate for so long."""
        at, end = time.monotonic(), time.monotonic() + seconds
        while (at := at + random.expovariate(rate)) < end:
            await asyncio.sleep(at - time.monotonic())
            self.seen.arrivals += 1
            task = asyncio.create_task(self._ask())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Waits for what is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in self._channels:
            await channel.close()

    async def _ask(self) -> None:
        seen, give_up = self.seen, time.monotonic() + self._deadline
        for _ in range(self._attempts):
            began = time.monotonic()
            try:
                async for _ in random.choice(self._stubs).Generate(self._request, timeout=give_up - began):
                    pass
                seen.served.append(time.monotonic() - began)
                return
            except grpc.aio.AioRpcError as error:
                code = error.code()
                if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    seen.refused += 1
                elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
                    seen.late += 1
                    return
                else:
                    seen.failed[code.name] = seen.failed.get(code.name, 0) + 1
                    return
        seen.given_up += 1


def _share(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def _load(address: str, rate: float, asked: argparse.Namespace) -> _Seen:
    clients = _Clients(address, asked.max_tokens, asked.deadline, asked.attempts)
    await clients.arrive(rate, WARM_UP_SECONDS)
    seen = clients.seen = _Seen()
    await clients.arrive(rate, asked.seconds)
    await clients.close()
    return seen


def _clients(address: str, rate: float, asked: argparse.Namespace) -> _Seen:
    os.nice(BEHIND_OTHERS)
    return asyncio.run(_load(address, rate, asked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads", default="0.5,1,2,10", help="arrivals, as multiples of what the replicas can do")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--max-tokens", type=int, default=80)
    parser.add_argument("--pass-ms", type=float, default=20.0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds for each request")
    parser.add_argument("--attempts", type=int, default=5, help="of a request; refused ones follow at once")
    parser.add_argument("--max-sessions", type=int, default=32)
    parser.add_argument("--max-waiting", type=int, default=32)
    parser.add_argument("--core", type=int, default=0)
    asked = parser.parse_args()
    capacity = asked.batch / (asked.pass_ms / 1e3) / (asked.max_tokens / TOKENS_A_ROUND)
    print(f"the replicas can serve {capacity:.0f} texts/s")
    print(
        "load  arrivals/s  attempts/s  goodput/s  of peak  text p50 s  p99 s  refusals/s  gRPC p50 ms  p99 ms  "
        "HTTP p50 ms  p99 ms  CPU"
    )
    flags = ("--max-sessions", str(asked.max_sessions), "--max-waiting", str(asked.max_waiting))
    peak = 0.0
    for load in map(float, asked.loads.split(",")):
        with (
            front(*flags, pass_ms=asked.pass_ms, batch=asked.batch, core=asked.core) as started,
            ProcessPoolExecutor(1, get_context("spawn")) as processes,
        ):
            clients = processes.submit(_clients, started.address, load * capacity, asked)
            time.sleep(WARM_UP_SECONDS)
            cpu, began = started.cpu_seconds(), time.monotonic()
            told, _ = watch(started.address, started.http, asked.seconds).communicate()
            cpu_share = (started.cpu_seconds() - cpu) / (time.monotonic() - began)
            seen, refusals = clients.result(), json.loads(told)
        goodput = len(seen.served) / asked.seconds
        peak = max(peak, goodput)
        attempts = len(seen.served) + seen.refused + seen.late
        print(
            f"{load:4g} {seen.arrivals / asked.seconds:11.0f} {attempts / asked.seconds:11.0f} {goodput:10.1f} "
            f"{goodput / peak:8.1%} {_share(seen.served, 0.5):11.2f} {_share(seen.served, 0.99):6.2f} "
            f"{seen.refused / asked.seconds:11.0f} {_share(refusals['grpc'], 0.5) * 1e3:12.1f} "
            f"{_share(refusals['grpc'], 0.99) * 1e3:7.1f} {_share(refusals['http'], 0.5) * 1e3:12.1f} "
            f"{_share(refusals['http'], 0.99) * 1e3:7.1f} {cpu_share:4.0%}"
            + (f"  late: {seen.late}" if seen.late else "")
            + (f"  failed: {seen.failed}" if seen.failed else ""),
            flush=True,
        )


if __name__ == "__main__":
    main()
