"""Script calls of many sessions over one connection to Redis: what is asked for while a batch is under way goes as
the next batch, so that sessions share round trips instead of queueing for connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis
import redis.asyncio as redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from orchestrator.store_scripts import ALL, Script
from tandem.errors import Unavailable

MAX_BATCH = 256

Argument = bytes | str | int | float
_Call = tuple[Script, tuple[Argument, ...], "asyncio.Future[list[bytes]]"]


class ScriptPipeline:
    """Runs scripts in batches over a connection of its own. Owner: the session store, which closes it.

    Its one background task starts with the first call and ends with `close`.
    """

    def __init__(self, client: redis.Redis, timeout_seconds: float) -> None:
        self._pool = client.connection_pool
        self._timeout_seconds = timeout_seconds
        self._waiting: list[_Call] = []
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._is_closing = False
        """Beside the task's cancellation, which the Redis client loses where it comes just as an answer does."""
        self._connection: Any = None  # redis.asyncio declares the pool's connections as abstract

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> list[bytes]:
        """The script's answer.

        Raises:
            Unavailable: Redis could not be reached, or not in time. The script may have run all the same.
        """
        answer: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._waiting.append((script, (len(keys), *keys, *args), answer))
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), name="session store")
        self._wake.set()
        return await answer

    async def close(self) -> None:
        """Ends the task and the connection; calls under way fail."""
        self._is_closing = True
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._fail(self._waiting, "the session store was closed")
        await self._disconnect()

    async def _run(self) -> None:
        while not self._is_closing:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting and not self._is_closing:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                try:
                    async with asyncio.timeout(self._timeout_seconds):
                        await self._exchange(batch)
                except (RedisError, OSError, TimeoutError) as error:
                    await self._disconnect()
                    reason = str(error) or f"no answer within {self._timeout_seconds:g} s"
                    self._fail(batch, f"the session store does not answer: {reason}")
                except BaseException:
                    self._fail(batch, "the session store was closed")
                    raise

    async def _exchange(self, batch: Sequence[_Call]) -> None:
        if self._connection is None:
            self._connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
            await self._send([("SCRIPT", "LOAD", script.source) for script in ALL])
        unknown: list[_Call] = []
        answers = await self._send([("EVALSHA", script.sha, *args) for script, args, _ in batch])
        for call, answer in zip(batch, answers, strict=True):
            if isinstance(answer, NoScriptError):
                unknown.append(call)
            else:
                _settle(call, answer)
        if unknown:  # somebody flushed the scripts; EVAL teaches them again
            answers = await self._send([("EVAL", script.source, *args) for script, args, _ in unknown])
            for call, answer in zip(unknown, answers, strict=True):
                _settle(call, answer)

    async def _send(self, commands: list[tuple[Argument, ...]]) -> list[Any]:
        packed = b"".join(hiredis.pack_command(command) for command in commands)  # type: ignore[arg-type]
        await self._connection.send_packed_command(packed, check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await self._connection.read_response(disable_decoding=True))
            except ResponseError as error:  # this command's own; the connection is in step
                answers.append(error)
        return answers

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)

    @staticmethod
    def _fail(batch: Sequence[_Call], reason: str) -> None:
        for _, _, answer in batch:
            if not answer.done():
                answer.set_exception(Unavailable(reason))


def _settle(call: _Call, answer: Any) -> None:
    future = call[2]
    if future.done():  # its caller gave up
        return
    if isinstance(answer, ResponseError):
        future.set_exception(Unavailable(f"the session store refused a command: {answer}"))
    else:
        future.set_result(answer)
