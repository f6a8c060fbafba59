"""Several sources as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from orchestrator.discovery.source import Endpoints, Source, Standing, Tell


class Several:
    """What any of them knows. A replica that one source says is on its way out is."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.name = ",".join(source.name for source in sources)
        self._sources = sources

    @property
    def trouble(self) -> str:
        """Of each of them that has one."""
        return "; ".join(f"{source.name}: {source.trouble}" for source in self._sources if source.trouble)

    async def follow(self, tell: Tell) -> None:
        """Tells whenever one of them does. One that has told nothing yet does not hold the others up."""
        told: dict[int, Endpoints] = {}

        def heard(index: int, endpoints: Endpoints) -> None:
            told[index] = endpoints
            tell(_merged(told.values()))

        await asyncio.gather(*(source.follow(partial(heard, index)) for index, source in enumerate(self._sources)))


def _merged(told: Iterable[Endpoints]) -> Endpoints:
    merged: dict[str, Standing] = {}
    for endpoints in told:
        for address, standing in endpoints.items():
            if merged.get(address) != "terminating":
                merged[address] = standing
    return merged
