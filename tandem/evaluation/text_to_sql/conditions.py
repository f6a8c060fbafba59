"""Conditions on rows, as a question words them and as SQL states them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tandem.evaluation.text_to_sql import words
from tandem.evaluation.text_to_sql.decisions import Decision, Piece
from tandem.evaluation.text_to_sql.schemas import Table

COMPARISONS: tuple[tuple[str, str, str], ...] = (
    ("above", ">", ">="),
    ("more than", ">", ">="),
    ("at least", ">=", ">"),
    ("not less than", ">=", ">"),
    ("below", "<", "<="),
    ("less than", "<", "<="),
    ("at most", "<=", "<"),
    ("not more than", "<=", "<"),
)
"""(words, the operator they mean, the operator they are mistaken for)."""


@dataclass(frozen=True)
class Condition:
    """`words` follow "whose" in a question, `pieces` follow WHERE in a query."""

    words: str
    pieces: tuple[Piece, ...]


def compared(rng: random.Random, column: str) -> Condition:
    """A number column against a threshold."""
    phrase, right, wrong = rng.choice(COMPARISONS)
    threshold = rng.choice(words.THRESHOLDS)
    return Condition(
        f"{column} is {phrase} {threshold}", (column, Decision("comparison", right, wrong), str(threshold))
    )


def equal(rng: random.Random, column: str, values: tuple[str, ...]) -> Condition:
    """A category column against one of its values."""
    value = rng.choice(values)
    return Condition(f"{column} is '{value}'", (f"{column} = '{value}'",))


def single(rng: random.Random, table: Table) -> Condition:
    """One comparison, more often of a number, which leaves a decision, than of a category."""
    kind = "number" if rng.random() < 0.65 else "category"
    column = rng.choice([column for column in table.columns if column.kind == kind])
    return compared(rng, column.name) if kind == "number" else equal(rng, column.name, column.values)


def some(rng: random.Random, table: Table) -> Condition:
    """A single condition, or two of different columns joined by "and" or "or"."""
    first = single(rng, table)
    if rng.random() < 0.6:
        return first
    second = single(rng, table)
    if first.words.split()[0] == second.words.split()[0]:
        return first
    is_either = rng.random() < 0.6
    connective: Piece = Decision("connective", "OR", "AND") if is_either else "AND"
    return Condition(
        f"{first.words} {'or' if is_either else 'and'} {second.words}", (*first.pieces, connective, *second.pieces)
    )
