"""Text-to-SQL over random schemas, with databases to execute against.

`held_out` gives questions with clean queries over schemas that training never shows; `training` gives questions with
the queries of an imperfect annotator; `execution_match` says whether a query answers a question.
"""

from __future__ import annotations

from tandem.evaluation.text_to_sql.task import Example, TrainingExample, execution_match, held_out, training

__all__ = ["Example", "TrainingExample", "execution_match", "held_out", "training"]
