"""Examples: a prompt, the query that answers it, and the database that tells whether another query does too."""

from __future__ import annotations

import random
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tandem.evaluation.text_to_sql import databases
from tandem.evaluation.text_to_sql.annotator import annotate
from tandem.evaluation.text_to_sql.questions import random_draft
from tandem.evaluation.text_to_sql.schemas import Schema, random_schema

MAX_INSTRUCTIONS = 200_000  # virtual-machine steps of SQLite; gold queries take a few thousand
MAX_ROWS = 20_000
NUM_HELD_OUT = 4_000
QUESTIONS_PER_SCHEMA = 6  # in training; held-out schemas get one each


@dataclass(frozen=True)
class Example:
    """A held-out question. The model's answer is a space, the query, and the end token."""

    id: str
    prompt: str
    question: str
    schema: Schema
    gold_sql: str
    ordered: bool

    def database(self) -> sqlite3.Connection:
        """A fresh connection to this example's database: in memory, read-only, the same rows every time."""
        return databases.build(self.schema, self.gold_sql, zlib.crc32(self.id.encode()))


@dataclass(frozen=True)
class TrainingExample:
    """A question with the query an imperfect annotator gave."""

    prompt: str
    question: str
    schema: Schema
    annotated_sql: str


def prompt_text(schema: Schema, question: str) -> str:
    """What the model reads. It ends right where the query's leading space begins."""
    return f"Schema: {schema.text()}\nQuestion: {question}\nSQL:"


def held_out(limit: int | None = None, seed: int = 0) -> list[Example]:
    """The first `limit` held-out examples of a seed (all NUM_HELD_OUT by default), with clean queries."""
    examples = []
    for index in range(NUM_HELD_OUT if limit is None else limit):
        rng = random.Random(f"held-out/{seed}/{index}")
        schema = random_schema(rng, held_out=True)
        draft = random_draft(rng, schema)
        prompt = prompt_text(schema, draft.question)
        examples.append(Example(f"held-out-{seed}-{index}", prompt, draft.question, schema, draft.sql(), draft.ordered))
    return examples


def training(seed: int) -> Iterator[TrainingExample]:
    """Training examples without end, QUESTIONS_PER_SCHEMA in a row about one schema."""
    rng = random.Random(f"training/{seed}")
    while True:
        schema = random_schema(rng, held_out=False)
        for _ in range(QUESTIONS_PER_SCHEMA):
            draft = random_draft(rng, schema)
            yield TrainingExample(prompt_text(schema, draft.question), draft.question, schema, annotate(draft, rng))


def execution_match(example: Example, sql: str) -> bool:
    """Whether a query gives what the gold query gives on the example's database.

    Rows are compared as multisets, or as lists where the gold query orders. Any error, a statement that is no query,
    and a query that runs for too long or returns too much are no match.
    """
    connection = example.database()
    try:
        expected = _rows(connection, example.gold_sql)
        try:
            actual = _rows(connection, sql)
        except (sqlite3.Error, sqlite3.Warning, ValueError):
            return False
    finally:
        connection.close()
    return actual == expected if example.ordered else Counter(actual) == Counter(expected)


def _rows(connection: sqlite3.Connection, sql: str) -> list[tuple[object, ...]]:
    connection.set_progress_handler(lambda: 1, MAX_INSTRUCTIONS)
    cursor = connection.execute(sql)
    if cursor.description is None:
        raise ValueError("not a query")
    rows = cursor.fetchmany(MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise ValueError("too many rows")
    return rows
