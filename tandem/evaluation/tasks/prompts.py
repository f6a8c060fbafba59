"""Prompts of one's own, one a line, held against reference texts where there are some."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tandem.errors import InvalidArgument
from tandem.evaluation.task import Sample, Task
from tandem.evaluation.tasks.data_files import Record, read_json_lines, unique

_ROUGE = ("rouge1", "rouge2", "rougeL")


class Prompts(Task):
    """Lines of ``{"prompt": …, "id"?: …, "reference"?: … | "references"?: […]}``.

    Where a line has references its answer is scored, each score being the best over them: ``exact_match``, white space
    normalised, and the F-measures of ROUGE-1, -2 and -L, lower-cased and without stemming. A line without an id is
    named by its number among the records.
    """

    name = "prompts"
    max_tokens = 256

    def __init__(self, path: Path) -> None:
        """Reads the prompts.

        Raises:
            InvalidArgument: the file is not in this form, or has references and ROUGE is not installed.
        """
        records = read_json_lines(path)
        self._samples = unique((record, _sample(number, record)) for number, record in enumerate(records, start=1))
        if any(sample.data for sample in self._samples):
            self.primary = "exact_match"
            self._rouge = _rouge_scorer()

    def samples(self, limit: int | None) -> Sequence[Sample]:
        """See :meth:`Task.samples`."""
        return self._samples[:limit]

    def score(self, sample: Sample, answers: Sequence[str]) -> Mapping[str, float]:
        """How near the answer is to the nearest reference; nothing where there is none."""
        references: tuple[str, ...] = sample.data
        if not references:
            return {}
        answer = " ".join(answers[0].split())
        rouge = self._rouge.score_multi(references, answer)
        return {
            "exact_match": float(any(answer == " ".join(reference.split()) for reference in references)),
            **{name: float(rouge[name].fmeasure) for name in _ROUGE},
        }


def _sample(number: int, record: Record) -> Sample:
    references = record.texts("references")
    if record.fields.get("reference") is not None:
        if references:
            raise record.mistake("it has both 'reference' and 'references'; expected one of them")
        references = (record.text("reference"),)
    sample_id = str(number if record.fields.get("id") is None else record.key("id"))
    return Sample(sample_id, record.text("prompt"), "", references[0] if references else "", references)


def _rouge_scorer() -> Any:
    try:
        scorer = importlib.import_module("rouge_score.rouge_scorer")
    except ImportError as error:
        raise InvalidArgument(
            "the file has references, which are scored with the rouge-score package, and that cannot be imported "
            f"({error}); install it with: pip install 'tandem[eval]'"
        ) from error
    return scorer.RougeScorer(_ROUGE)
