"""Spider: questions over many databases, judged by executing the query. Read from the folder as it is published."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tandem.errors import InvalidArgument
from tandem.evaluation.queries import QueryFailed, QueryLimits, fetch, open_read_only, same_result
from tandem.evaluation.task import Sample, Task
from tandem.evaluation.tasks.data_files import Record, read_json_list
from tandem.evaluation.tasks.sql_text import orders
from tandem.evaluation.text_to_sql.prompt import prompt_text

Tables = Mapping[str, Sequence[str]]  # the columns of each table, by its name

# The largest of the public databases have some hundred thousand rows, and gold queries that join them.
_LIMITS = QueryLimits(max_instructions=300_000_000, max_rows=1_000_000)


@dataclass(frozen=True, slots=True)
class _Gold:
    where: str
    database: Path
    sql: str
    ordered: bool


class Spider(Task):
    """Questions of Spider's ``dev.json``, or of its ``test.json`` where that is what the folder has.

    Rows are compared as multisets, or as lists where the gold query orders at its top level. Columns must stand in the
    gold query's order. The public test-suite evaluation is more lenient with columns and runs several databases, so
    its figures are not to be set beside these.
    """

    name = "spider"
    primary = "execution_accuracy"
    max_tokens = 256
    stop = (";", "\n\n", "\nQuestion:", "\nSchema:")

    def __init__(self, folder: Path) -> None:
        """Reads the questions and the schemas, and finds the databases.

        Raises:
            InvalidArgument: something is missing or not in the published form.
        """
        schemas = _schemas(folder / "tables.json")
        questions = folder / "dev.json"
        if not questions.exists() and (folder / "test.json").exists():
            questions = folder / "test.json"
        self._samples = [
            _sample(f"{questions.stem}-{index}", record, folder / "database", schemas)
            for index, record in enumerate(read_json_list(questions))
        ]

    def samples(self, limit: int | None) -> Sequence[Sample]:
        """See :meth:`Task.samples`. Each gold query is run, so that a bad one shows before anything is decoded.

        Raises:
            InvalidArgument: a database cannot be read, or a gold query gives no rows to compare.
        """
        samples = self._samples[:limit]
        for sample in samples:
            _run_gold(sample.data)
        return samples

    def score(self, sample: Sample, answers: Sequence[str]) -> Mapping[str, float]:
        """Whether the query gives what the gold query gives."""
        gold: _Gold = sample.data
        with closing(open_read_only(gold.database)) as connection:
            right = same_result(connection, gold.sql, answers[0], _LIMITS, ordered=gold.ordered)
        return {"execution_accuracy": float(right)}


def _schemas(path: Path) -> dict[str, Tables]:
    return {record.text("db_id"): _tables(record) for record in read_json_list(path)}


def _tables(record: Record) -> Tables:
    names = record.texts("table_names_original")
    tables: dict[str, list[str]] = {name: [] for name in names}
    columns = record.fields.get("column_names_original")
    if not names or not isinstance(columns, list):
        raise record.mistake("expected lists in the fields 'table_names_original' and 'column_names_original'")
    for column in columns:
        match column:
            case [-1, "*"]:  # stands for every column of every table
                pass
            case [int(table), str(name)] if 0 <= table < len(names):
                tables[names[table]].append(name)
            case _:
                raise record.mistake(f"a column is {column!r}; expected [index of its table, name]")
    return tables


def _sample(sample_id: str, record: Record, databases: Path, schemas: Mapping[str, Tables]) -> Sample:
    database, question, sql = record.text("db_id"), record.text("question"), record.text("query")
    if database not in schemas:
        raise record.mistake(f"the database {database!r} is not in tables.json")
    path = databases / database / f"{database}.sqlite"
    if Path(database).name != database or not path.is_file():
        raise record.mistake(f"the database {database!r} has no file {path}")
    prompt = prompt_text(schemas[database].items(), question)
    return Sample(sample_id, prompt, question, sql, _Gold(record.where, path, sql, orders(sql)))


def _run_gold(gold: _Gold) -> None:
    try:
        with closing(open_read_only(gold.database)) as connection:
            fetch(connection, gold.sql, _LIMITS)
    except sqlite3.Error as error:
        raise InvalidArgument(f"{gold.where}: the database {gold.database} cannot be opened: {error}") from error
    except QueryFailed as error:
        raise InvalidArgument(
            f"{gold.where}: the gold query fails ({error}), so no answer could be right: {gold.sql}\n"
            "Mend or remove the record, or get the database again"
        ) from error
