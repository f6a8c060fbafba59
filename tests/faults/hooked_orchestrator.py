"""The orchestrator with points on its way from commit to emit: ``python -m tests.faults.hooked_orchestrator NAME …``.

In order: ``committing`` before the store is asked, ``sent`` while it is being asked, ``committed`` when it has
answered, ``replying`` before the part is written to the client, ``replied`` when it has left.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.service import Orchestrator
from orchestrator.session_store import CommitAnswer, SessionStore
from orchestrator.settings import OrchestratorSettings
from tandem.rpc.server import Listen, leave, run, serve
from tandem.telemetry import configure_logging, new_registry
from tests.faults.points import HookedServer, Points
from tests.faults.wall_clock import WallClock


class HookedStore(SessionStore):
    """The session store, with points around its commits."""

    points: Points

    async def commit(self, *args: Any, **options: Any) -> CommitAnswer:
        self.points.reach("committing")
        asking = asyncio.ensure_future(super().commit(*args, **options))
        await asyncio.sleep(0)  # the pipeline takes it up
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # and has written it
        self.points.reach("sent")
        answer = await asking
        self.points.reach("committed")
        return answer


class HookedOrchestrator(Orchestrator):
    """The orchestrator, with points around the parts it writes."""

    points: Points

    def register(self, server: Any) -> None:
        super().register(HookedServer(server, self.points, _is_part))  # type: ignore[arg-type]


def main(argv: Sequence[str]) -> int:
    """Runs until SIGTERM, as the service's own main does."""
    name, folder, *flags = argv
    WallClock(Path(folder), name).install()

    async def orchestrator() -> None:
        settings = OrchestratorSettings.load(flags)
        configure_logging("orchestrator", settings.log_level)
        registry = new_registry()
        store = HookedStore(settings.redis_url, settings.lifetimes)
        service = HookedOrchestrator(settings, registry, store)
        store.points = service.points = Points(Path(folder), name)
        await serve(service, Listen(settings.host, settings.port, settings.metrics_port, settings.ready_file), registry)

    return run(orchestrator)


def _is_part(message: Any) -> bool:
    return bool(message.WhichOneof("body") == "part")


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
