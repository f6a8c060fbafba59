"""Questions to start from, and their databases to run answers on: those that the shipped pair was made for."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cached_property
from typing import Any

from tandem.errors import NotFound, Overloaded
from tandem.evaluation.queries import QueryFailed, QueryLimits, Rows, read, same_result
from tandem.evaluation.text_to_sql import Example, held_out

NUM_EXAMPLES = 24
ROWS_SHOWN = 30
NUM_THREADS = 2
MAX_WAITING = 16
PATIENCE_SECONDS = 2.0
_LIMITS = QueryLimits(max_instructions=200_000, max_rows=5_000, max_bytes=4_000_000, max_value_bytes=10_000)


class Examples:
    """Held-out questions. Queries run in threads of its own, a few at once, none for long. Owner: the playground."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="playground-query")
        self._num_running = 0

    def close(self) -> None:
        """Takes no further query; one that runs ends by its own limits."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def by_id(self) -> dict[str, Example]:
        """The examples, in order."""
        return {example.id: example for example in held_out(NUM_EXAMPLES)}

    def listed(self) -> list[dict[str, str]]:
        """As the page offers them."""
        return [
            {"id": example.id, "question": example.question, "prompt": example.prompt, "gold_sql": example.gold_sql}
            for example in self.by_id.values()
        ]

    async def run(self, example_id: str, sql: str) -> dict[str, Any]:
        """What a query gives on the database of an example, beside what the gold query gives.

        Raises:
            NotFound: no such example. Overloaded: too many queries are waiting.
        """
        example = self.by_id.get(example_id)
        if example is None:
            raise NotFound(f"there is no example {example_id!r}")
        if self._num_running >= MAX_WAITING:
            raise Overloaded(f"{self._num_running} queries are waiting; at most {MAX_WAITING} do")
        self._num_running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _run, example, sql)
        finally:
            self._num_running -= 1


def _run(example: Example, sql: str) -> dict[str, Any]:
    with _database(example) as connection:
        answer = _rows(connection, sql)
        gold = _rows(connection, example.gold_sql)
        matches = same_result(connection, example.gold_sql, sql, _LIMITS, ordered=example.ordered)
    return {"matches": matches, "answer": answer, "gold": gold}


@contextmanager
def _database(example: Example) -> Iterator[sqlite3.Connection]:
    """The example's database, for as long as patience lasts: a step of a query has limits, and so has their sum."""
    with closing(example.database()) as connection:
        watch = threading.Timer(PATIENCE_SECONDS, connection.interrupt)
        watch.start()
        try:
            yield connection
        finally:
            watch.cancel()
            watch.join()


def _rows(connection: sqlite3.Connection, sql: str) -> dict[str, Any]:
    try:
        found = read(connection, sql, _LIMITS)
    except QueryFailed as error:
        return {"sql": sql, "error": "it takes too long" if str(error) == "interrupted" else str(error)}
    return {"sql": sql, "columns": found.columns, "rows": _shown(found), "num_rows": len(found.rows)}


def _shown(found: Rows) -> list[list[str]]:
    return [["NULL" if value is None else str(value) for value in row] for row in found.rows[:ROWS_SHOWN]]
