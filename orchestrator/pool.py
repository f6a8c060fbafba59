"""The replicas of one role: a link to each that discovery tells of, made when it comes, ended when it has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from orchestrator.discovery.source import Endpoints, Source
from orchestrator.links import Link
from tandem.telemetry import logger

AnyLink = TypeVar("AnyLink", bound=Link)


class Pool(Generic[AnyLink]):
    """Owner of the links, and of the task that follows the source from `start` to `close`.

    A replica that terminates, or is told of no more, gets no new session, and those it has go elsewhere; its link is
    ended once it has none left, or once it has ended its own side.
    """

    def __init__(
        self, source: Source, connect: Callable[[str, Callable[[], None]], AnyLink], wake: Callable[[], None]
    ) -> None:
        """``connect`` makes a link to an address, which calls what it is given whenever it has changed.

        ``wake`` is called whenever anything has.
        """
        self.links: list[AnyLink] = []
        self.is_known = False
        """Whether the source has told of anything yet."""
        self._source = source
        self._connect = connect
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = logger("orchestrator.pool").bind(source=source.name)

    def start(self) -> None:
        """Starts following the source."""
        self._begin(self._source.follow(self._hear), "discovery")

    async def close(self) -> None:
        """Ends all links, and the following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *(link.close() for link in self.links), return_exceptions=True)

    def why_none(self) -> Iterator[str]:
        """Reasons why there may be no replica to use, as far as discovery knows them."""
        if not self.links:
            told = "names none" if self.is_known else "has told of none yet"
            trouble = f" ({self._source.trouble})" if self._source.trouble else ""
            yield f"{self._source.name or 'the list of addresses'} {told}{trouble}"

    def _hear(self, endpoints: Endpoints) -> None:
        self.is_known = True
        for link in self.links:
            leaves = endpoints.get(link.address) != "serving"
            if leaves != link.is_leaving:
                self._log.info("replica leaves" if leaves else "replica stays", replica=link.address)
                link.is_leaving = leaves
        known = {link.address for link in self.links}
        for address, standing in endpoints.items():
            if standing == "serving" and address not in known:
                link = self._connect(address, self._changed)
                self.links.append(link)
                link.start()
        self._changed()

    def _changed(self) -> None:
        for link in [link for link in self.links if link.is_leaving and (link.is_idle or link.is_over)]:
            self.links.remove(link)
            self._log.info("replica is gone", replica=link.address)
            self._begin(link.close(), f"end of the link to {link.name}")
        self._wake()

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._log.critical("a task of the pool broke", task=task.get_name(), exc_info=task.exception())
