"""Tables of methods that people read have every method, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tandem.decoding.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]


def tables(path: str) -> list[list[list[str]]]:
    """The Markdown tables of a document: rows of cells, the heading first."""
    found = re.findall(r"(?:^\|.*\n)+", (ROOT / path).read_text(), flags=re.MULTILINE)
    return [[[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()] for table in found]


def named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.parametrize(("path", "heading"), [("README.md", "in a word"), ("docs/methods.md", "drafts")])
def test_a_table_of_methods_names_each_once(path: str, heading: str) -> None:
    (table,) = [table for table in tables(path) if table[0][:2] == ["method", heading]]
    assert sorted(name for row in table[2:] for name in named(row[0])) == sorted(METHODS)


def test_the_table_of_dials_says_what_each_method_reads() -> None:
    (table,) = [table for table in tables("docs/methods.md") if table[0][:2] == ["method", "reads"]]
    told = {name: frozenset(named(row[1])) for row in table[2:] for name in named(row[0])}
    assert told == {name: method.dials for name, method in METHODS.items()}
