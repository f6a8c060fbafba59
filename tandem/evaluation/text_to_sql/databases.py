"""A database for an example: random rows, rich in the values that its query mentions, so that a wrong query shows."""

from __future__ import annotations

import random
import re
import sqlite3
from dataclasses import dataclass

from tandem.evaluation.text_to_sql.schemas import Column, Schema, Table

NUM_ROOT_ROWS = 18
NUM_CHILD_ROWS = 48


@dataclass(frozen=True)
class _Filler:
    """Draws values; `numbers` and `categories` are those that the query mentions."""

    rng: random.Random
    numbers: list[int]
    categories: list[str]

    def value(self, table: Table, column: Column, row: int, num_parents: int) -> int | str:
        """Half the numbers lie on a threshold; four categories in ten are one that the query names."""
        if column.name == table.key:
            return row + 1
        if column.kind == "key":
            return self.rng.randint(1, num_parents * 2 // 3)  # the last third of the parents have no children
        if column.kind == "label":
            return f"{table.name}{(row * 7 + 3) % 100}"
        if column.kind == "number":
            return (
                self.rng.choice(self.numbers) if self.numbers and self.rng.random() < 0.5 else self.rng.randint(1, 99)
            )
        named = [value for value in self.categories if value in column.values]
        return self.rng.choice(named) if named and self.rng.random() < 0.4 else self.rng.choice(column.values)


def build(schema: Schema, gold_sql: str, seed: int) -> sqlite3.Connection:
    """An in-memory database, read-only once filled."""
    numbers = [int(text) for text in re.findall(r"\b\d\d\b", gold_sql)]
    filler = _Filler(random.Random(seed), numbers, re.findall(r"'([a-z]+)'", gold_sql))
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    num_rows: list[int] = []
    for table in schema.tables:
        num_parents = 0 if table.parent is None else num_rows[table.parent]
        num_rows.append(NUM_ROOT_ROWS if table.parent is None else NUM_CHILD_ROWS)
        rows = [
            [filler.value(table, column, row, num_parents) for column in table.columns] for row in range(num_rows[-1])
        ]
        _create(connection, table, rows)
    connection.commit()
    connection.execute("PRAGMA query_only = ON")
    return connection


def _create(connection: sqlite3.Connection, table: Table, rows: list[list[int | str]]) -> None:
    columns = ", ".join(
        f'"{column.name}" {"INTEGER" if column.kind in ("key", "number") else "TEXT"}' for column in table.columns
    )
    connection.execute(f'CREATE TABLE "{table.name}" ({columns})')
    connection.executemany(f'INSERT INTO "{table.name}" VALUES ({", ".join("?" * len(table.columns))})', rows)
