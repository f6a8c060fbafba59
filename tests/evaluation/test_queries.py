"""Running queries that a model wrote."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tandem.evaluation.queries import QueryFailed, QueryLimits, fetch, open_read_only, same_result
from tandem.evaluation.tasks.sql_text import orders

LIMITS = QueryLimits(max_instructions=100_000, max_rows=100, max_bytes=10_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a database? #1.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE pets (id INTEGER, name TEXT, age REAL)")
    connection.executemany("INSERT INTO pets VALUES (?, ?, ?)", [(1, "Rex", 3.0), (2, "Tom", 5.5), (3, "Rex", 1.0)])
    connection.execute("INSERT INTO pets VALUES (4, CAST(X'E9' AS TEXT), 2.0)")
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def database(path: Path) -> sqlite3.Connection:
    return open_read_only(path)


@pytest.mark.parametrize(
    ("gold", "sql", "ordered", "same"),
    [
        ("SELECT name FROM pets", "SELECT name FROM pets ORDER BY id DESC", False, True),
        ("SELECT name FROM pets ORDER BY id", "SELECT name FROM pets ORDER BY id DESC", True, False),
        ("SELECT name FROM pets ORDER BY id", "SELECT name FROM pets ORDER BY id", True, True),
        ("SELECT name FROM pets", "SELECT DISTINCT name FROM pets", False, False),
        ("SELECT id, name FROM pets", "SELECT name, id FROM pets", False, False),
        ("SELECT 1", "SELECT 1.0", False, True),
        ("SELECT id FROM pets WHERE id > 9", "SELECT name FROM pets WHERE id > 9", False, True),
        ("SELECT count(*) FROM pets;", "SELECT 4", False, True),
    ],
)
def test_results_are_compared(database: sqlite3.Connection, gold: str, sql: str, ordered: bool, same: bool) -> None:
    assert same_result(database, gold, sql, LIMITS, ordered=ordered) is same


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "SELECT",
        "SELECT 1; SELECT 2",
        "DROP TABLE pets",
        "INSERT INTO pets VALUES (9, 'New', 1)",
        "PRAGMA table_info(pets)",
        "ATTACH DATABASE '{folder}/new.sqlite' AS new",
        "VACUUM INTO '{folder}/new.sqlite'",
        "SELECT load_extension('x')",
        "SELECT zeroblob(2000000)",
        "SELECT zeroblob(5000) FROM pets",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n",
        "SELECT '\x00",
        "SELECT '\ud800'",
    ],
)
def test_what_is_no_bounded_query_matches_nothing_and_changes_nothing(path: Path, sql: str) -> None:
    before = path.read_bytes()
    database = open_read_only(path)
    sql = sql.replace("{folder}", str(path.parent))
    assert not same_result(database, "SELECT 1", sql, LIMITS, ordered=False)
    with pytest.raises(QueryFailed):
        fetch(database, sql, LIMITS)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_gold_query_that_fails_is_told(database: sqlite3.Connection) -> None:
    with pytest.raises(QueryFailed, match="no such table: cats"):
        same_result(database, "SELECT * FROM cats", "SELECT 1", LIMITS, ordered=False)


def test_text_that_is_not_utf8_is_compared_as_it_is(database: sqlite3.Connection) -> None:
    assert fetch(database, "SELECT name FROM pets WHERE id = 4", LIMITS) == [("\udce9",)]


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order\n  by a desc limit 3", True),
        ("SELECT a FROM t UNION SELECT b FROM u ORDER BY 1", True),
        ("SELECT a FROM t WHERE b = ')' ORDER BY a", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY b LIMIT 1)", False),
        ("SELECT rank() OVER (ORDER BY a) FROM t", False),
        ("SELECT a FROM t WHERE b = 'x ORDER BY y'", False),
        ('SELECT "ORDER BY" FROM t', False),
        ("SELECT a FROM t -- ORDER BY a", False),
        ("SELECT a FROM t /* ORDER BY a */", False),
        ("SELECT a FROM t WHERE b = 'it''s' ORDER BY a", True),
        ("SELECT border, bylaw FROM t", False),
        ("", False),
    ],
)
def test_whether_a_query_orders(sql: str, ordered: bool) -> None:
    assert orders(sql) is ordered
