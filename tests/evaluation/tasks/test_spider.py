"""Spider's folder, as published."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tandem.errors import InvalidArgument
from tandem.evaluation.tasks import Spider

QUESTIONS: list[dict[str, Any]] = [
    {"db_id": "pets", "question": "How many pets are there?", "query": "SELECT count(*) FROM pets", "sql": {}},
    {"db_id": "pets", "question": "Names, oldest first?", "query": "SELECT name FROM pets ORDER BY age DESC"},
    {"db_id": "pets", "question": "Which names?", "query": "SELECT name FROM pets"},
]
TABLES: list[dict[str, Any]] = [
    {
        "db_id": "pets",
        "table_names": ["animals", "owners"],
        "table_names_original": ["pets", "owners"],
        "column_names": [[-1, "*"], [0, "number"], [0, "name"], [0, "age"], [1, "owner"]],
        "column_names_original": [[-1, "*"], [0, "id"], [0, "name"], [0, "age"], [1, "owner_id"]],
    }
]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def make(questions: Any = QUESTIONS, tables: Any = TABLES, name: str = "dev.json") -> Path:
        (tmp_path / name).write_text(json.dumps(questions))
        (tmp_path / "tables.json").write_text(json.dumps(tables))
        (tmp_path / "database" / "pets").mkdir(parents=True)
        connection = sqlite3.connect(tmp_path / "database" / "pets" / "pets.sqlite")
        connection.execute("CREATE TABLE pets (id INTEGER, name TEXT, age INTEGER)")
        connection.executemany("INSERT INTO pets VALUES (?, ?, ?)", [(1, "Rex", 3), (2, "Tom", 5)])
        connection.commit()
        connection.close()
        return tmp_path

    return make


def test_prompts_are_in_the_form_of_the_shipped_task(make: Callable[..., Path]) -> None:
    task = Spider(make())
    samples = task.samples(None)
    assert [sample.id for sample in samples] == ["dev-0", "dev-1", "dev-2"]
    assert samples[0].prompt == (
        "Schema: pets ( id , name , age ) ; owners ( owner_id )\nQuestion: How many pets are there?\nSQL:"
    )
    assert samples[0].reference == "SELECT count(*) FROM pets"
    assert task.samples(2) == samples[:2]


def test_answers_are_judged_by_what_they_give(make: Callable[..., Path]) -> None:
    task = Spider(make())
    count, by_age, names = task.samples(None)
    assert task.score(count, [" SELECT 2"]) == {"execution_accuracy": 1.0}
    assert task.score(count, [" SELECT 3"]) == {"execution_accuracy": 0.0}
    assert task.score(count, ["DROP TABLE pets"]) == {"execution_accuracy": 0.0}
    assert task.score(by_age, ["SELECT name FROM pets ORDER BY id"]) == {"execution_accuracy": 0.0}
    assert task.score(names, ["SELECT name FROM pets ORDER BY id DESC"]) == {"execution_accuracy": 1.0}
    assert task.score(count, ["SELECT count(*) FROM pets"]) == {"execution_accuracy": 1.0}


def test_the_test_split_is_read_where_there_is_no_other(make: Callable[..., Path]) -> None:
    assert Spider(make(name="test.json")).samples(1)[0].id == "test-0"


def test_a_failing_gold_query_is_named_before_anything_is_decoded(make: Callable[..., Path]) -> None:
    bad = {"db_id": "pets", "question": "?", "query": "SELECT colour FROM pets"}
    task = Spider(make([*QUESTIONS, bad]))
    assert len(task.samples(3)) == 3
    with pytest.raises(InvalidArgument, match=r"dev\.json, record 4: the gold query fails \(no such column: colour\)"):
        task.samples(None)


def test_a_database_that_is_none_is_named(make: Callable[..., Path]) -> None:
    folder = make()
    (folder / "database/pets/pets.sqlite").write_text("no database at all, " * 100)
    with pytest.raises(InvalidArgument, match="not a database"):
        Spider(folder).samples(1)


@pytest.mark.parametrize(
    ("questions", "tables", "message"),
    [
        ({}, TABLES, r"dev\.json: expected a list of records"),
        ([], TABLES, r"dev\.json has no records"),
        ([1], TABLES, r"dev\.json, record 1: expected a JSON object, found 1"),
        (
            [{"db_id": "pets", "question": "?"}],
            TABLES,
            r"record 1: expected text in the field 'query', which is missing",
        ),
        ([{"db_id": "cats", "question": "?", "query": "x"}], TABLES, r"'cats' is not in tables\.json"),
        ([{"db_id": "../x", "question": "?", "query": "x"}], [TABLES[0] | {"db_id": "../x"}], "has no file"),
        (QUESTIONS, [{"db_id": "pets"}], r"tables\.json, record 1: expected lists in the fields"),
        (QUESTIONS, [TABLES[0] | {"column_names_original": [[7, "id"]]}], r"a column is \[7, 'id'\]; expected"),
        (QUESTIONS, [TABLES[0] | {"table_names_original": "pets"}], "expected a list of texts"),
    ],
)
def test_what_is_wrong_is_said(make: Callable[..., Path], questions: Any, tables: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Spider(make(questions, tables))


def test_an_empty_folder_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"cannot read .*tables\.json: No such file"):
        Spider(tmp_path)
