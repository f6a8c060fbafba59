"""Replicas that have registered themselves in Redis."""

from __future__ import annotations

import asyncio
import time

from orchestrator.discovery.source import Standing, Tell
from tandem.errors import Unavailable
from tandem.registration import EXPIRE_SECONDS, TERMINATING, Registry
from tandem.telemetry import logger

LOOK_EVERY_SECONDS = 0.5

HOLD_SECONDS = EXPIRE_SECONDS / 2
"""For how long one that is missing is kept: a store that lost everything knows nobody until they have renewed."""


class Registered:
    """Replicas by their own registrations, which lapse unless they are renewed."""

    def __init__(self, url: str, role: str) -> None:
        """``url``: the store's.

        Raises:
            InvalidArgument: the URL is none of Redis.
        """
        self.name = f"redis:///{role}"
        self.trouble = ""
        self._registry = Registry(url)
        self._role = role
        self._seen_at: dict[str, float] = {}
        self._known: dict[str, Standing] = {}
        self._log = logger("orchestrator.discovery").bind(source=self.name)

    async def follow(self, tell: Tell) -> None:
        """Tells whenever a registration comes, changes or has lapsed."""
        told: dict[str, Standing] | None = None
        try:
            while True:
                if await self._look() and self._known != told:
                    told = dict(self._known)
                    tell(told)
                await asyncio.sleep(LOOK_EVERY_SECONDS)
        finally:
            await self._registry.close()

    async def _look(self) -> bool:
        """Brings what is known up to date; False where the store does not answer."""
        try:
            found = await self._registry.get(self._role)
        except Unavailable as error:
            if not self.trouble:
                self._log.warning("what is known of registrations may be out of date", reason=str(error))
            self.trouble = str(error)
            return False
        now = time.monotonic()
        if self.trouble:  # meanwhile nobody could renew
            self._seen_at = dict.fromkeys(self._known, now)
        self.trouble = ""
        for address, standing in found.items():
            self._known[address] = "terminating" if standing == TERMINATING else "serving"
            self._seen_at[address] = now
        for address in [address for address in self._known if address not in found]:
            if self._known[address] == "terminating" or now > self._seen_at[address] + HOLD_SECONDS:
                del self._known[address], self._seen_at[address]
        return True
