"""Running answers on the examples' databases: read-only, bounded, beside the gold query."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from orchestrator.playground.examples import MAX_WAITING, NUM_EXAMPLES, ROWS_SHOWN, Examples
from tandem.errors import NotFound, Overloaded

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"


@pytest.fixture
def examples() -> Iterator[Examples]:
    examples = Examples()
    yield examples
    examples.close()


async def test_the_gold_query_is_answered_by_itself(examples: Examples) -> None:
    listed = examples.listed()
    assert len(listed) == NUM_EXAMPLES
    for example in listed[:6]:
        found = await examples.run(example["id"], example["gold_sql"])
        assert found["matches"] is True
        assert found["answer"] == found["gold"]
        assert found["gold"]["columns"]


async def test_another_query_is_shown_with_its_rows(examples: Examples) -> None:
    found = await examples.run("held-out-0-1", "SELECT item_id AS it, NULL FROM items")
    assert found["matches"] is False
    assert found["answer"]["columns"] == ("it", "NULL")
    assert found["answer"]["rows"][0] == ["1", "NULL"]
    assert found["answer"]["num_rows"] > len(found["answer"]["rows"]) == ROWS_SHOWN


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "SELECT nothing FROM nowhere",
        "DROP TABLE items",
        "INSERT INTO items DEFAULT VALUES",
        "ATTACH '/tmp/other.db' AS other",
        "SELECT 1; SELECT 2",
        "SELECT zeroblob(100000)",
        "PRAGMA query_only = OFF",
        "\ud800",
    ],
)
async def test_what_is_no_query_or_goes_too_far_gives_no_rows(examples: Examples, sql: str) -> None:
    found = await examples.run("held-out-0-1", sql)
    assert found["answer"]["error"]
    assert found["matches"] is False
    assert found["gold"]["rows"]


async def test_no_query_takes_long(examples: Examples) -> None:
    began = time.monotonic()
    found = await examples.run("held-out-0-1", ENDLESS)
    assert found["answer"]["error"] == "it takes too long"
    assert time.monotonic() - began < 5


async def test_only_examples_have_databases_and_few_queries_wait(examples: Examples) -> None:
    with pytest.raises(NotFound):
        await examples.run("held-out-9-9", "SELECT 1")
    many = [examples.run("held-out-0-1", "SELECT 1") for _ in range(MAX_WAITING + 4)]
    found = await asyncio.gather(*many, return_exceptions=True)
    assert sum(isinstance(one, Overloaded) for one in found) == 4
