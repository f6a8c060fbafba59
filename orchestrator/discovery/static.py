"""Addresses that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.discovery.source import Endpoints, Tell


class Static:
    """Replicas that are where they are: those that are gone are expected back."""

    trouble = ""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.name = ",".join(addresses)
        self._endpoints: Endpoints = dict.fromkeys(addresses, "serving")

    async def follow(self, tell: Tell) -> None:
        """Tells them once, and never anything new."""
        tell(self._endpoints)
        await asyncio.get_running_loop().create_future()
