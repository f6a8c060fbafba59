"""What becomes of sessions that are left before their end."""

from __future__ import annotations

import asyncio
import secrets

from orchestrator.session import Session
from orchestrator.session_store import SessionStore
from tandem.errors import NotFound, Unavailable
from tandem.telemetry import logger


class Leaving:
    """Writes to the store that sessions were left. Owner: `Sessions`; the tasks it starts end with `close`."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = logger("orchestrator.leaving")

    def leave(self, session: Session, *, resumable: bool) -> None:
        """Has the session wait for whoever resumes it, or ends it. Returns at once: the caller may be cancelled."""
        leave = self._pause if resumable else self._cancel
        task = asyncio.create_task(leave(session), name=f"leave {session.session_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Waits for what is being written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pause(self, session: Session) -> None:
        try:
            for fence in session.claim.possible_fences:
                await self._store.pause(session.session_id, fence)
        except Unavailable as error:
            self._log.warning("a session left by its client keeps its longer expiry", reason=str(error))

    async def _cancel(self, session: Session) -> None:
        try:
            await self._store.end(session.session_id, "cancelled", secrets.token_bytes(16))
        except NotFound:
            pass  # it was left before it was written
        except Unavailable as error:
            self._log.warning("a session left by its client expires instead of ending", reason=str(error))
