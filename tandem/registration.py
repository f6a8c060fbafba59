"""Replicas that register themselves in Redis, so that orchestrators find them where nothing else tells of them.

Each role has a set of addresses, and each address a key that says how it stands and expires unless it is renewed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from redis.exceptions import RedisError

from tandem.errors import Unavailable
from tandem.rpc.channel import check_address
from tandem.store_client import connect
from tandem.telemetry import logger

RENEW_SECONDS: Final = 3.0
EXPIRE_SECONDS: Final = 10.0
"""How often a registration is renewed, and after how long it lapses."""

RETRY_SECONDS: Final = 0.5
CALL_SECONDS: Final = 2.0

SERVING, TERMINATING = "serving", "terminating"


class Registry:
    """The registrations at one store. Every method raises `Unavailable` when it does not answer in time."""

    def __init__(self, url: str) -> None:
        """Connects on first use.

        Raises:
            InvalidArgument: the URL is none of Redis.
        """
        self._client = connect(url, CALL_SECONDS, "register_at")

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def put(self, role: str, address: str, standing: str) -> None:
        """Writes a registration, for `EXPIRE_SECONDS`."""
        expiry = int(1000 * EXPIRE_SECONDS)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(_key(role, address), standing, px=expiry)
        pipeline.sadd(_index(role), address)
        pipeline.pexpire(_index(role), 10 * expiry)
        await self._answered(pipeline.execute())

    async def get(self, role: str) -> Mapping[str, str]:
        """How each address stands that is registered now."""
        members = await self._answered(self._client.smembers(_index(role)))
        addresses = sorted(member.decode() for member in members)
        if not addresses:
            return {}
        standings = await self._answered(self._client.mget([_key(role, address) for address in addresses]))
        found = dict(zip(addresses, standings, strict=True))
        lapsed = [address for address, standing in found.items() if standing is None]
        if lapsed:  # one that comes back puts itself in again
            await self._answered(self._client.srem(_index(role), *lapsed))
        return {address: standing.decode() for address, standing in found.items() if standing is not None}

    async def _answered(self, call: Any) -> Any:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await call
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable(f"the store of registrations does not answer: {error or 'timeout'}") from None
        finally:
            # The client loses a cancellation that comes just as an answer does (redis 8.1, once in some dozens).
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
        return answer


class Registration:
    """One replica's own. Owner: `tandem.rpc.server`; the task runs from `start` to `close`."""

    def __init__(self, url: str, role: str, address: str = "") -> None:
        """``address``: host:port by which orchestrators and drafters reach it; empty for where it listens.

        Raises:
            InvalidArgument: the URL is none of Redis, or the address has another form.
        """
        if address:
            check_address(address)
        self._registry = Registry(url)
        self._role = role
        self._address = address
        self._standing = SERVING
        self._in_trouble = False
        self._task: asyncio.Task[None] | None = None
        self._log = logger("tandem.registration")

    def start(self, bound: str) -> None:
        """Registers from now on. ``bound``: where the service listens."""
        self._address = self._address or bound
        self._task = asyncio.create_task(self._keep(), name="registration")

    async def withdraw(self) -> None:
        """Says that it is on its way out; returns once that is written, or cannot be."""
        if self._task is None:
            return
        self._task.cancel()
        self._standing = TERMINATING
        await self._put()

    async def close(self) -> None:
        """Renews no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._registry.close()

    async def _keep(self) -> None:
        while True:
            put = await self._put()
            await asyncio.sleep(RENEW_SECONDS if put else RETRY_SECONDS)

    async def _put(self) -> bool:
        try:
            await self._registry.put(self._role, self._address, self._standing)
        except Unavailable as error:
            if not self._in_trouble:
                self._log.warning("not registered", reason=str(error))
            self._in_trouble = True
            return False
        if self._in_trouble:
            self._log.info("registered again")
        self._in_trouble = False
        return True


def _index(role: str) -> str:
    return f"tandem:{{replicas-{role}}}:addresses"


def _key(role: str, address: str) -> str:
    return f"tandem:{{replicas-{role}}}:{address}"
