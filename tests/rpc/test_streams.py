"""A stream's outbox is bounded: who does not read is cut off, and who reads slowly is not read from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tandem.errors import InvalidArgument, Overloaded
from tandem.rpc.streams import Outbox, exchange


async def test_messages_are_written_in_order_until_the_end() -> None:
    outbox: Outbox[int] = Outbox()
    written: list[int] = []

    async def write(message: int) -> None:
        await asyncio.sleep(0)
        written.append(message)

    pumping = asyncio.create_task(outbox.pump(write))
    for number in range(5):
        outbox.put(number)
        await asyncio.sleep(0)
    outbox.end()
    outbox.put(99)
    await pumping
    assert written == [0, 1, 2, 3, 4]


async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    outbox: Outbox[int] = Outbox(max_waiting=10)
    stalled = asyncio.Event()

    async def write(message: int) -> None:
        await stalled.wait()

    pumping = asyncio.create_task(outbox.pump(write))
    await asyncio.sleep(0)
    for number in range(12):
        outbox.put(number)
    stalled.set()
    with pytest.raises(Overloaded, match="unread"):
        await pumping


async def test_a_peer_that_reads_slowly_is_not_read_from() -> None:
    outbox: Outbox[int] = Outbox(max_waiting=10)
    may_write = asyncio.Semaphore(0)
    accepted: list[int] = []
    num_written = 0

    async def requests() -> AsyncIterator[int]:
        for number in range(100):
            yield number

    async def write(message: int) -> None:
        nonlocal num_written
        await may_write.acquire()
        num_written += 1

    def accept(request: int) -> None:
        accepted.append(request)
        outbox.put(request)

    task = asyncio.create_task(exchange(requests(), write, outbox, accept, outbox.end))
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(accepted) <= 8
    for _ in range(100):
        may_write.release()
    await task
    assert accepted == list(range(100))
    assert num_written == 100


async def test_an_error_of_accepting_ends_the_stream_with_it() -> None:
    outbox: Outbox[int] = Outbox()
    finished = 0

    async def requests() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def write(message: int) -> None:
        pass

    def accept(request: int) -> None:
        raise InvalidArgument("no body")

    def finish() -> None:
        nonlocal finished
        finished += 1

    with pytest.raises(InvalidArgument, match="no body"):
        await exchange(requests(), write, outbox, accept, finish)
    assert finished == 1
