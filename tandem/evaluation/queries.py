"""Running queries that a model wrote, and whether one gives what another gives."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

Row = tuple[object, ...]

_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


class QueryFailed(Exception):
    """A query that gives no rows to compare: it is broken, reads nothing, or goes beyond its limits."""


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """How far a query may go. They are counted, not timed: a query fails on every machine or on none."""

    max_instructions: int
    """Virtual-machine steps of SQLite."""
    max_rows: int
    max_bytes: int = 256_000_000
    """Of all text and blobs returned."""
    max_value_bytes: int = 1_000_000
    """Of any one value on the way to the rows."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query gives."""

    columns: tuple[str, ...]
    """As SQLite names them."""
    rows: list[Row]


def open_read_only(path: Path) -> sqlite3.Connection:
    """A database file, opened so that nothing can change it. Text that is not UTF-8 is kept, not refused.

    Raises:
        sqlite3.Error: there is no such file, or it is no database.
    """
    connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, check_same_thread=False)
    connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    connection.execute("PRAGMA query_only = ON")
    return connection


def fetch(connection: sqlite3.Connection, sql: str, limits: QueryLimits) -> list[Row]:
    """All rows of one query, as `read` gives them."""
    return read(connection, sql, limits).rows


def read(connection: sqlite3.Connection, sql: str, limits: QueryLimits) -> Rows:
    """All that one query gives. From here on the connection reads tables and does nothing else.

    Raises:
        QueryFailed: the text is not one query that ends within the limits.
    """
    connection.set_authorizer(_only_reading)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, limits.max_value_bytes)
    connection.set_progress_handler(lambda: 1, limits.max_instructions)
    rows: list[Row] = []
    num_bytes = 0
    try:
        cursor = connection.execute(sql)
        if cursor.description is None:
            raise QueryFailed("it is not a query")
        for row in cursor:
            num_bytes += sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(rows) == limits.max_rows or num_bytes > limits.max_bytes:
                raise QueryFailed(f"it returns more than {limits.max_rows} rows or {limits.max_bytes} bytes")
            rows.append(row)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        raise QueryFailed(str(error)) from error
    return Rows(tuple(column[0] for column in cursor.description), rows)


def same_result(connection: sqlite3.Connection, gold_sql: str, sql: str, limits: QueryLimits, *, ordered: bool) -> bool:
    """Whether a query gives what the gold query gives.

    Rows are compared as multisets, or as lists where the order was asked for. Any error, a statement that is no query,
    and a query that runs for too long or returns too much are no match.

    Raises:
        QueryFailed: the gold query itself gives no rows.
    """
    expected = fetch(connection, gold_sql, limits)
    try:
        actual = fetch(connection, sql, limits)
    except QueryFailed:
        return False
    return actual == expected if ordered else Counter(actual) == Counter(expected)


def _only_reading(action: int, _one: str | None, _two: str | None, _database: str | None, _by: str | None) -> int:
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY
