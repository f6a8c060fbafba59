"""Examples: a prompt, the query that answers it, and the database that tells whether another query does too."""

from __future__ import annotations

import random
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from tandem.evaluation.queries import QueryLimits, same_result
from tandem.evaluation.text_to_sql import databases
from tandem.evaluation.text_to_sql.annotator import annotate
from tandem.evaluation.text_to_sql.prompt import prompt_text
from tandem.evaluation.text_to_sql.questions import random_draft
from tandem.evaluation.text_to_sql.schemas import Schema, random_schema

_LIMITS = QueryLimits(max_instructions=200_000, max_rows=20_000)  # gold queries take a few thousand steps
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


def _prompt(schema: Schema, question: str) -> str:
    return prompt_text(((table.name, [column.name for column in table.columns]) for table in schema.tables), question)


def held_out(limit: int | None = None, seed: int = 0) -> list[Example]:
    """The first `limit` held-out examples of a seed (all NUM_HELD_OUT by default), with clean queries."""
    examples = []
    for index in range(NUM_HELD_OUT if limit is None else limit):
        rng = random.Random(f"held-out/{seed}/{index}")
        schema = random_schema(rng, held_out=True)
        draft = random_draft(rng, schema)
        prompt = _prompt(schema, draft.question)
        examples.append(Example(f"held-out-{seed}-{index}", prompt, draft.question, schema, draft.sql(), draft.ordered))
    return examples


def training(seed: int) -> Iterator[TrainingExample]:
    """Training examples without end, QUESTIONS_PER_SCHEMA in a row about one schema."""
    rng = random.Random(f"training/{seed}")
    while True:
        schema = random_schema(rng, held_out=False)
        for _ in range(QUESTIONS_PER_SCHEMA):
            draft = random_draft(rng, schema)
            yield TrainingExample(_prompt(schema, draft.question), draft.question, schema, annotate(draft, rng))


def execution_match(example: Example, sql: str) -> bool:
    """Whether a query gives what the gold query gives on the example's database; see :func:`same_result`."""
    with closing(example.database()) as connection:
        return same_result(connection, example.gold_sql, sql, _LIMITS, ordered=example.ordered)
