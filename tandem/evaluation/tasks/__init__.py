"""The tasks by name."""

from __future__ import annotations

from tandem.errors import InvalidArgument
from tandem.evaluation.task import Task
from tandem.evaluation.tasks.text_to_sql import TextToSql


def load_task(spec: str) -> Task:
    """The task of a name."""
    if spec != "text-to-sql":
        raise InvalidArgument(f"unknown task {spec!r}; expected text-to-sql")
    return TextToSql()
