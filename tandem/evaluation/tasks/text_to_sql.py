"""The shipped task: held-out questions over schemas that training never showed, judged by executing the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem.evaluation.task import Sample, Task
from tandem.evaluation.text_to_sql import execution_match, held_out


class TextToSql(Task):
    """Questions from :mod:`tandem.evaluation.text_to_sql`; needs no data from outside."""

    name = "text-to-sql"
    primary = "execution_accuracy"
    max_tokens = 128

    def samples(self, limit: int | None) -> Sequence[Sample]:
        """See :meth:`Task.samples`."""
        return [
            Sample(example.id, example.prompt, example.question, example.gold_sql, example)
            for example in held_out(limit)
        ]

    def score(self, sample: Sample, answers: Sequence[str]) -> Mapping[str, float]:
        """Whether the query gives what the gold query gives."""
        return {"execution_accuracy": float(execution_match(sample.data, answers[0]))}
