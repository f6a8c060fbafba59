"""Clients that go away, and clients that never read."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc.aio
import psutil

from tandem.client import AsyncClient
from tandem.decoding.values import RunningDigest
from tandem.errors import NotFound, TandemError
from tandem.rpc.channel import open_channel
from tandem.rpc.generation_codec import encode_request
from tandem.v1 import generation_pb2 as pb
from tandem.v1.generation_pb2_grpc import GenerationServiceStub
from tests.faults.disturbance import Disturbance, disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.load import Ask, Load, asks
from tests.faults.stage import RESUME_TTL, Stage, staged

STOPPED_SECONDS = 1.0
"""After which a session without a client has stopped: generous for one round."""

LONG_TEXT = 400
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 4096))
"""Has the client's transport take in little that nobody reads."""

MAX_GROWTH_BYTES = 96 << 20
"""What readers that do not read may cost an orchestrator: their windows and one event each, and much to spare."""


async def gone(given: Surroundings, num_trials: int) -> Figures:
    """Half of the clients come back within the time to resume, half of them too late."""
    wanted = asks(range(4), num_tokens=300)
    async with staged(given.zygote, given.folder) as stage, disturbed(stage, wanted, width=4) as found:
        for number in range(0, num_trials, 2):
            pair = [wanted[number % len(wanted)], wanted[(number + 1) % len(wanted)]]
            await asyncio.gather(_comes_back(stage, found, pair[0]), _comes_too_late(stage, found, pair[1]))
    return found.figures


async def _comes_back(stage: Stage, found: Disturbance, ask: Ask) -> None:
    expected = found.load.expected[ask]
    async with AsyncClient(stage.addresses) as client:
        session_id, text, stopped = await _leave(stage, client, ask)
        found.figures.trials += 1
        found.figures.took_effect += stopped
        whole = [*expected.prompt_token_ids, *text]
        rest = client.resume(session_id, len(whole), RunningDigest(whole).value)
        async with rest as stream:
            async for part in stream:
                text += part.token_ids
        if tuple(text) != expected.token_ids:
            found.figures.tally.wrong.append(f"{ask}: another text after coming back")


async def _comes_too_late(stage: Stage, found: Disturbance, ask: Ask) -> None:
    async with AsyncClient(stage.addresses) as client:
        session_id, text, stopped = await _leave(stage, client, ask)
        found.figures.trials += 1
        found.figures.took_effect += stopped
        await asyncio.sleep(RESUME_TTL + 0.5)
        whole = [*ask.prompt, *text]
        try:
            async with client.resume(session_id, len(whole), RunningDigest(whole).value) as stream:
                async for _ in stream:
                    pass
        except NotFound:
            return
        except TandemError as error:
            found.figures.tally.failed.append(f"{ask}: {error!r} instead of NotFound, too late")
            return
        found.figures.left_behind.append(f"{ask}: resumed after its time to live")


async def _leave(stage: Stage, client: AsyncClient, ask: Ask) -> tuple[str, list[int], bool]:
    """Begins a text and leaves it: its session, what was shown, and whether it then stopped."""
    text: list[int] = []
    async with client.stream(ask.prompt, **ask.options) as stream:
        async for part in stream:
            text += part.token_ids
            if len(text) > ask.num_tokens // 6:
                break
    await asyncio.sleep(STOPPED_SECONDS / 2)
    before = await _position(stage, stream.session_id)
    await asyncio.sleep(STOPPED_SECONDS / 2)
    return stream.session_id, text, before == await _position(stage, stream.session_id) < ask.num_tokens


async def _position(stage: Stage, session_id: str) -> int:
    async with open_channel(stage.addresses[0]) as channel:
        stub: Any = GenerationServiceStub(channel)  # type: ignore[no-untyped-call]
        return int((await stub.GetSession(pb.GetSessionRequest(session_id=session_id))).position)


async def never_reads(given: Surroundings, num_trials: int) -> Figures:
    """Streams of traced rounds that nobody reads, for longer than a lease; then half of them are read after all."""
    flags = {"lease_timeout": 1.0}
    unread = asks(range(1), num_tokens=LONG_TEXT)
    async with staged(given.zygote, given.folder, orchestrator=flags) as stage:
        learning = Load(stage.addresses, unread)
        await learning.learn()
        await learning.client.close()
        async with disturbed(stage, width=4) as found:
            for _ in range(num_trials):
                orchestrator = psutil.Process(stage.of("orchestrator")[0].pid)
                before = orchestrator.memory_info().rss
                await asyncio.gather(*(_stalls(stage, found, ask, read=n % 2 == 0) for n, ask in enumerate(unread)))
                if (grown := orchestrator.memory_info().rss - before) > MAX_GROWTH_BYTES:
                    found.figures.left_behind.append(f"the orchestrator grew by {grown >> 20} MB")
    return found.figures


async def _stalls(stage: Stage, found: Disturbance, ask: Ask, *, read: bool) -> None:
    request = encode_request(ask.prompt, {**ask.options, "trace": True})
    text: list[int] = []
    async with grpc.aio.insecure_channel(stage.addresses[0], options=SMALL_WINDOW) as channel:
        stub: Any = GenerationServiceStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Generate(request)
        session_id = (await call.read()).started.session_id
        stalled = -1

        async def stands_still() -> bool:
            nonlocal stalled
            before, stalled = stalled, await _position(stage, session_id)
            await asyncio.sleep(0.5)
            return before == stalled

        deadline = time.monotonic() + 30
        while not await stands_still():
            assert time.monotonic() < deadline, "the session does not stop for its reader"
        await asyncio.sleep(1.5)  # past the lease's end
        # The transport may let a little more through with time; what counts is that the text is far from its end.
        waits = await _position(stage, session_id) < LONG_TEXT // 2
        found.figures.trials += 1
        found.figures.took_effect += waits
        if not read:
            call.cancel()
            return
        while (message := await call.read()) is not grpc.aio.EOF:
            text += message.part.token_ids
    if tuple(text) != found.load.expected[ask].token_ids:
        found.figures.tally.wrong.append(f"{ask}: another text for the late reader")


ROWS = (
    Row(
        name="client-gone",
        fault="client gone in the midst of its text; half come back in time, half too late",
        promise="work stops within a round; resumable until the time to resume is over, then gone",
        run=gone,
        short=2,
        long=60,
    ),
    Row(
        name="client-never-reads",
        fault="client that does not read, for longer than a lease; half read on in the end",
        promise="it pauses itself and nobody else; memory bounded",
        run=never_reads,
        short=1,
        long=10,
    ),
)
