"""Random schemas: two to four tables, each but the first with a key into an earlier one."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Literal

from tandem.evaluation.text_to_sql import words

ColumnKind = Literal["key", "label", "number", "category"]
HELD_OUT_SHARE = 8  # one pair of linked tables in so many is kept out of training


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    kind: ColumnKind

    @property
    def values(self) -> tuple[str, ...]:
        """What a category may hold; nothing for other kinds."""
        return words.CATEGORIES.get(self.name, ())


@dataclass(frozen=True)
class Table:
    """A table: its own key first, then its label; `parent` is the index of the table its foreign key points to."""

    name: str
    key: str
    columns: tuple[Column, ...]
    parent: int | None

    def of_kind(self, kind: ColumnKind) -> list[str]:
        """The names of its columns of one kind."""
        return [column.name for column in self.columns if column.kind == kind]

    @property
    def label(self) -> str:
        """The column that names a row."""
        return self.of_kind("label")[0]


@dataclass(frozen=True)
class Schema:
    """Tables linked as a tree. Column names other than keys are unique, so joins by USING need no qualified names."""

    tables: tuple[Table, ...]

    def links(self) -> list[tuple[Table, Table]]:
        """Every (child, parent)."""
        return [(table, self.tables[table.parent]) for table in self.tables if table.parent is not None]


def is_held_out_pair(child: str, parent: str) -> bool:
    """Whether schemas that link these two tables belong to the held-out split."""
    return zlib.crc32(f"{child}>{parent}".encode()) % HELD_OUT_SHARE == 0


def random_schema(rng: random.Random, *, held_out: bool) -> Schema:
    """Draw a schema, all of whose linked pairs of tables are held out, or none of them."""
    num_tables = rng.choices((2, 3, 4), (40, 45, 15))[0]
    names = _linked_names(rng, num_tables, held_out)
    labels = rng.sample(words.LABELS, num_tables)
    numbers = rng.sample(words.NUMBERS, 2 * num_tables)
    categories = rng.sample(list(words.CATEGORIES), 2 * num_tables)
    tables = []
    for index, (singular, plural, parent) in enumerate(names):
        columns = [Column(numbers.pop(), "number"), Column(categories.pop(), "category")]
        if rng.random() < 0.4:
            columns.append(
                Column(numbers.pop(), "number") if rng.random() < 0.5 else Column(categories.pop(), "category")
            )
        if parent is not None:
            columns.append(Column(f"{names[parent][0]}_id", "key"))
        rng.shuffle(columns)
        head = [Column(f"{singular}_id", "key"), Column(labels[index], "label")]
        tables.append(Table(plural, f"{singular}_id", tuple(head + columns), parent))
    return Schema(tuple(tables))


def _linked_names(rng: random.Random, num_tables: int, held_out: bool) -> list[tuple[str, str, int | None]]:
    """(singular, plural, index of the parent) of each table, drawn again until every link is on the wanted side."""
    names: list[tuple[str, str, int | None]] = [(*rng.choice(words.TABLES), None)]
    while len(names) < num_tables:
        singular, plural = rng.choice(words.TABLES)
        parent = rng.randrange(len(names))
        is_new = all(plural != other for _, other, _ in names)
        if is_new and is_held_out_pair(plural, names[parent][1]) == held_out:
            names.append((singular, plural, parent))
    return names
