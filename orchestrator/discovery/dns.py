"""All addresses of a name, asked for again and again: a headless service's pods, or what a zone lists."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from orchestrator.discovery.source import Tell
from tandem.telemetry import logger

LOOK_EVERY_SECONDS = 2.0

_NOBODY = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
"""What a resolver says of a name that has no address (now): of a headless service without pods, for one."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a name, by the system's resolver.

    Raises:
        OSError: it does not answer, or knows of none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]


class Dns:
    """Replicas by the addresses of a name, each at the same port. DNS says nothing of those on their way out."""

    def __init__(
        self, host: str, port: int, *, resolve: Resolve = resolve, every_seconds: float = LOOK_EVERY_SECONDS
    ) -> None:
        self.name = f"dns:///{host}:{port}"
        self.trouble = ""
        self._host, self._port = host, port
        self._resolve = resolve
        self._every_seconds = every_seconds
        self._log = logger("orchestrator.discovery").bind(source=self.name)

    async def follow(self, tell: Tell) -> None:
        """Tells whenever the answer differs from the last one."""
        known: set[str] | None = None
        while True:
            found = await self._ask()
            if found is not None and found != known:
                known = found
                tell(dict.fromkeys(sorted(found), "serving"))
            await asyncio.sleep(self._every_seconds)

    async def _ask(self) -> set[str] | None:
        """The addresses now; None where nobody can tell."""
        try:
            found = await self._resolve(self._host, self._port)
        except OSError as error:
            if isinstance(error, socket.gaierror) and error.errno in _NOBODY:
                self.trouble = f"{self._host} has no address"
                return set()
            if not self.trouble:
                self._log.warning("the resolver does not answer; what is known stays so", reason=str(error))
            self.trouble = f"the resolver does not answer: {error}"
            return None
        self.trouble = ""
        return {f"[{ip}]:{self._port}" if ":" in ip else f"{ip}:{self._port}" for ip in found}
