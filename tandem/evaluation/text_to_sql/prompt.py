"""How a schema and a question become a prompt."""

from __future__ import annotations

from collections.abc import Iterable


def prompt_text(tables: Iterable[tuple[str, Iterable[str]]], question: str) -> str:
    """What the model reads. It ends right where the query's leading space begins.

    Every name has a space before it, hence one spelling for the tokenizer.

    Args:
        tables: the name of each, and its columns' names.
        question: in words.
    """
    schema = " ; ".join(f"{table} ( {' , '.join(columns)} )" for table, columns in tables)
    return f"Schema: {schema}\nQuestion: {question}\nSQL:"
