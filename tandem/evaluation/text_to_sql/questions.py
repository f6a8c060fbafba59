"""Questions over a schema, each with its query: lists, counts, aggregates, groups, joins and nested queries."""

from __future__ import annotations

import random
from collections.abc import Callable

from tandem.evaluation.text_to_sql.conditions import Condition, some
from tandem.evaluation.text_to_sql.decisions import Decision, Draft, Piece
from tandem.evaluation.text_to_sql.schemas import Schema, Table

AGGREGATES: tuple[tuple[str, str, str], ...] = (
    ("average", "AVG", "SUM"),
    ("mean", "AVG", "SUM"),
    ("total", "SUM", "COUNT"),
    ("highest", "MAX", "MIN"),
    ("lowest", "MIN", "MAX"),
)
"""(word, the function it means, the function it is mistaken for)."""


def _source(rng: random.Random, schema: Schema, table: Table) -> tuple[str, tuple[Piece, ...]]:
    """What a question asks about, as (words, pieces from FROM): a table, or its rows under a condition."""
    choice = rng.random()
    if choice < 0.25:
        return table.name, (f"FROM {table.name}",)
    if choice < 0.6 or table.parent is None:
        condition = some(rng, table)
        relative = rng.choice(("whose", "where"))
        return f"{table.name} {relative} {condition.words}", (f"FROM {table.name} WHERE", *condition.pieces)
    parent = schema.tables[table.parent]
    joins = f"{table.name} JOIN {parent.name} USING ( {parent.key} )"
    if parent.parent is not None and rng.random() < 0.5:  # two links away: the table between is for the reader to find
        parent = schema.tables[parent.parent]
        joins += f" JOIN {parent.name} USING ( {parent.key} )"
    condition = some(rng, parent)
    link = rng.choice(("of", "linked to", "that belong to"))
    relative = rng.choice(("whose", "where"))
    # Half the time only the schema says that the column is another table's, and which.
    subject = f"{table.name} {link} {parent.name}" if rng.random() < 0.5 else table.name
    return f"{subject} {relative} {condition.words}", (f"FROM {joins} WHERE", *condition.pieces)


def _asked(rng: random.Random) -> str:
    return rng.choice(("Show", "List", "Give", "Find", "Tell me", "Return"))


def _labels(rng: random.Random, table: Table) -> str:
    """What stands before a table whose labels are asked for: half the time only the schema says which they are."""
    return f"the {table.label} of" if rng.random() < 0.5 else "the"


def _extra(column: str) -> Decision:
    return Decision("extra", "", f", {column}")


def listed(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """Labels of rows, perhaps in order."""
    subject, source = _source(rng, schema, table)
    if rng.random() < 0.7:
        column, opening = table.label, _labels(rng, table)
    else:
        column = rng.choice(table.of_kind("category"))
        opening = f"the {column} of"
    number = rng.choice(table.of_kind("number"))
    down = rng.random() < 0.5
    words = rng.choice(
        ("from high to low", "in descending order") if down else ("from low to high", "in ascending order")
    )
    direction = Decision("direction", "DESC", "") if down else Decision("direction", "", "DESC")
    question = f"{_asked(rng)} {opening} {subject} sorted by {number} {words}"
    return Draft(question, ("SELECT", column, _extra(number), *source, f"ORDER BY {number}", direction), ordered=True)


def different(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """The values of a category, each once, or how many there are."""
    subject, source = _source(rng, schema, table)
    column = rng.choice(table.of_kind("category"))
    word = rng.choice(("different", "distinct", "unique"))
    distinct = Decision("distinct", "DISTINCT", "")
    if rng.random() < 0.5:
        return Draft(
            f"How many {word} {column} are there in {subject}", ("SELECT COUNT(", distinct, f"{column} )", *source)
        )
    return Draft(f"{_asked(rng)} the {word} {column} of {subject}", ("SELECT", distinct, column, *source))


def extreme(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """The labels of the first few rows by a number."""
    subject, source = _source(rng, schema, table)
    number = rng.choice(table.of_kind("number"))
    limit = rng.choice((1, 2, 3, 5))
    down = rng.random() < 0.6
    direction = Decision("direction", "DESC", "") if down else Decision("direction", "", "DESC")
    count = "" if limit == 1 else f"{limit} "
    question = (
        f"{_asked(rng)} {_labels(rng, table)} {subject} with the {count}{'highest' if down else 'lowest'} {number}"
    )
    pieces = ("SELECT", table.label, _extra(number), *source, f"ORDER BY {number}", direction, f"LIMIT {limit}")
    return Draft(question, pieces, ordered=True)


def counted(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """How many rows."""
    subject, source = _source(rng, schema, table)
    opening = rng.choice(("How many are the", "Count the", "What is the number of"))
    return Draft(f"{opening} {subject}", ("SELECT COUNT( * )", *source))


def aggregated(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """An aggregate of a number column."""
    subject, source = _source(rng, schema, table)
    word, right, wrong = rng.choice(AGGREGATES)
    number = rng.choice(table.of_kind("number"))
    pieces = ("SELECT", Decision("aggregate", f"{right}(", f"{wrong}("), f"{number} )", *source)
    return Draft(f"{_asked(rng)} the {word} {number} of {subject}", pieces)


def grouped(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """A count or an aggregate for each value of a category, perhaps of large groups only."""
    subject, source = _source(rng, schema, table)
    column = rng.choice(table.of_kind("category"))
    group = Decision("group", f"{column} ,", "")
    if rng.random() < 0.4:
        word, right, wrong = rng.choice(AGGREGATES)
        number = rng.choice(table.of_kind("number"))
        value: tuple[Piece, ...] = (Decision("aggregate", f"{right}(", f"{wrong}("), f"{number} )")
        asked = f"{_asked(rng)} the {word} {number} of {subject} for each {column}"
    else:
        value = ("COUNT( * )",)
        asked = f"How many {subject} are there for each {column}"
    tail: tuple[Piece, ...] = ()
    if rng.random() < 0.3:
        minimum = rng.choice((2, 3, 4))
        asked += f" that occurs at least {minimum} times"
        tail = ("HAVING COUNT( * )", Decision("comparison", ">=", ">"), str(minimum))
    return Draft(asked, ("SELECT", group, *value, *source, f"GROUP BY {column}", *tail))


def linked(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """How many children each row of the parent has, or an aggregate over them."""
    child, parent = rng.choice(schema.links())
    join = Decision("join", "JOIN", "LEFT JOIN")
    if rng.random() < 0.5:
        word, right, wrong = rng.choice(AGGREGATES)
        number = rng.choice(child.of_kind("number"))
        value: tuple[Piece, ...] = (Decision("aggregate", f"{right}(", f"{wrong}("), f"{number} )")
        asked = f"the {word} {number} of {child.name}"
    else:
        value = ("COUNT( * )",)
        asked = f"the number of {child.name}"
    question = f"{_asked(rng)} {_labels(rng, parent)} {parent.name} and {asked} of each"
    source = (f"FROM {parent.name}", join, f"{child.name} USING ( {parent.key} )", f"GROUP BY {parent.label}")
    return Draft(question, ("SELECT", parent.label, ",", *value, *source))


def having_none(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """Rows of the parent that have children, or have none: a nested query."""
    child, parent = rng.choice(schema.links())
    condition: Condition | None = some(rng, child) if rng.random() < 0.7 else None
    where: tuple[Piece, ...] = ("WHERE", *condition.pieces) if condition else ()
    is_none = rng.random() < 0.7
    words = "no" if is_none else "some"
    inside: tuple[Piece, ...] = (Decision("negation", "NOT IN", "IN"),) if is_none else ("IN",)
    question = f"{_asked(rng)} {_labels(rng, parent)} {parent.name} that have {words} {child.name}"
    question += f" whose {condition.words}" if condition else ""
    pieces = (
        f"SELECT {parent.label} FROM {parent.name} WHERE {parent.key}",
        *inside,
        f"( SELECT {parent.key} FROM {child.name}",
    )
    return Draft(question, (*pieces, *where, ")"))


def beyond_average(rng: random.Random, schema: Schema, table: Table) -> Draft:
    """Rows whose number is beyond the average of all rows, or of those under a condition: a nested query."""
    number = rng.choice(table.of_kind("number"))
    word, sign = rng.choice((("above", ">"), ("more than", ">"), ("below", "<"), ("less than", "<")))
    values = rng.choice([column for column in table.columns if column.kind == "category"])
    value = rng.choice(values.values)
    inner = f"FROM {table.name}"
    question = f"{_asked(rng)} {_labels(rng, table)} {table.name} whose {number} is {word} the average of {table.name}"
    pieces: tuple[Piece, ...] = (
        f"SELECT {table.label}",
        _extra(number),
        f"FROM {table.name} WHERE {number} {sign} ( SELECT AVG( {number} ) {inner}",
    )
    if rng.random() < 0.6:
        question += f" whose {values.name} is '{value}'"
        pieces = (*pieces, Decision("scope", f"WHERE {values.name} = '{value}'", ""))
    return Draft(question, (*pieces, ")"))


FRAMES: tuple[tuple[Callable[[random.Random, Schema, Table], Draft], float], ...] = (
    (listed, 0.2),
    (different, 0.14),
    (extreme, 0.14),
    (counted, 0.06),
    (aggregated, 0.12),
    (grouped, 0.12),
    (linked, 0.08),
    (having_none, 0.07),
    (beyond_average, 0.07),
)
"""Every kind of question and its share."""


def random_draft(rng: random.Random, schema: Schema) -> Draft:
    """Draw a question about a schema, with its query."""
    frame = rng.choices([frame for frame, _ in FRAMES], [share for _, share in FRAMES])[0]
    draft = frame(rng, schema, rng.choice(schema.tables))
    return Draft(draft.question + "?", draft.pieces, draft.ordered)
