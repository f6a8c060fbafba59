"""How much one orchestrator process carries: sessions at once, committed rounds a second, memory.

    python -m benchmarks.capacity [--sessions 1000] [--seconds 20] [--core 0] [--profile]

Replicas answer at once and stand in processes of their own, as do Redis and clients; the orchestrator has ``--core``
to itself, as far as the machine leaves it. CPU time a committed round is the figure to trust where other work shares
the core: its inverse is what a core of its own would commit.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import grpc.aio

from benchmarks.front import Front, front
from tandem.rpc.channel import open_channel
from tandem.v1 import generation_pb2 as pb
from tandem.v1.generation_pb2_grpc import GenerationServiceStub

PROMPT = list(range(100, 132))
SESSIONS_A_CONNECTION = 250


async def _load(front: Front, num_sessions: int, max_tokens: int, seconds: float) -> dict[str, float]:
    """Keeps so many sessions running and measures from the moment all of them do."""
    channels = [open_channel(front.address) for _ in range(1 + num_sessions // SESSIONS_A_CONNECTION)]
    running: set[int] = set()
    all_run = asyncio.Event()
    failures: list[Exception] = []

    async def session(number: int) -> None:
        stub = GenerationServiceStub(channels[number % len(channels)])  # type: ignore[no-untyped-call]
        request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=PROMPT), ignore_eos=True)
        # Lengths differ, so that sessions do not end and begin together.
        request.max_tokens = max_tokens // 2 + (number * 7919) % max_tokens
        while not failures:
            try:
                async for _ in stub.Generate(request):
                    running.add(number)
                    if len(running) == num_sessions:
                        all_run.set()
            except grpc.aio.AioRpcError as error:
                failures.append(error)
                all_run.set()

    tasks = [asyncio.create_task(session(number)) for number in range(num_sessions)]
    try:
        await all_run.wait()
        if failures:
            raise failures[0]
        await asyncio.sleep(2.0)
        before = await asyncio.to_thread(_reading, front)
        await asyncio.sleep(seconds)
        after = await asyncio.to_thread(_reading, front)
        resident = front.process.memory_info().rss / 2**20
        if failures:
            raise failures[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in channels:
            await channel.close()
    return {name: after[name] - before[name] for name in before} | {"resident": resident}


def _reading(front: Front) -> dict[str, float]:
    redis = front.redis.cpu_times()
    return {
        "at": time.monotonic(),
        "rounds": front.metric("commits_total", answer="ok"),
        "texts": front.metric("request_success_total"),
        "cpu": front.cpu_seconds(),
        "redis": redis.user + redis.system,
        "commit_seconds": front.metric("commit_seconds_sum"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", default="1000", help="how many at once; several with commas between")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--max-tokens", type=int, default=128, help="of a text in the mean; four a round")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--profile", action="store_true", help="samples the orchestrator, and prints where it is")
    asked = parser.parse_args()
    print("sessions  rounds/s    CPU  µs CPU/round  rounds/s/core    MiB  commit ms  texts/s")
    for num_sessions in map(int, asked.sessions.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            profile = Path(folder, "profile")
            module = ("benchmarks.sampled", str(profile), "orchestrator") if asked.profile else ("orchestrator",)
            with front("--max-sessions", str(num_sessions), core=asked.core, module=module) as started:
                found = asyncio.run(_load(started, num_sessions, asked.max_tokens, asked.seconds))
            seconds, rounds = found["at"], found["rounds"]
            print(
                f"{num_sessions:8} {rounds / seconds:9.0f} {found['cpu'] / seconds:6.1%} "
                f"{found['cpu'] / rounds * 1e6:13.0f} {rounds / found['cpu']:14.0f} {found['resident']:6.0f} "
                f"{found['commit_seconds'] / rounds * 1e3:10.1f} {found['texts'] / seconds:8.1f}",
                flush=True,
            )
            if asked.profile:
                sys.stdout.write(profile.read_text())


if __name__ == "__main__":
    main()
