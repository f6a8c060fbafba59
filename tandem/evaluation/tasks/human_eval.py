"""HumanEval: functions to complete, judged by running their tests. Read from the file as it is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from tandem.evaluation.task import Sample, Task
from tandem.evaluation.tasks.data_files import Record, read_json_lines, unique
from tandem.evaluation.tasks.sandbox import run_sandboxed

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Problem:
    test: str
    entry_point: str


class HumanEval(Task):
    """Problems of a ``HumanEval.jsonl`` or ``HumanEval.jsonl.gz``.

    The model continues the prompt; what it writes is run with the tests in a sandbox, whose limits are stated in
    :mod:`tandem.evaluation.tasks.sandbox`. One answer a repetition gives pass@1; further repetitions make it exacter.
    """

    name = "humaneval"
    primary = "pass@1"
    max_tokens = 512
    stop = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")

    def __init__(self, path: Path) -> None:
        """Reads the problems.

        Raises:
            InvalidArgument: the file is not in the published form.
        """
        self._samples = unique((record, _sample(record)) for record in read_json_lines(path))
        self._warned = False

    def samples(self, limit: int | None) -> Sequence[Sample]:
        """See :meth:`Task.samples`."""
        return self._samples[:limit]

    def score(self, sample: Sample, answers: Sequence[str]) -> Mapping[str, float]:
        """Whether the completed function passes its tests.

        Raises:
            Unavailable: the sandbox does not start.
        """
        problem: _Problem = sample.data
        outcome = run_sandboxed([sample.prompt + answers[0], problem.test, f"check({problem.entry_point})"])
        if not outcome.isolated and not self._warned:
            self._warned = True
            _log.warning(
                "sandbox_not_isolated",
                reason="this system gives no namespaces, so programs that the model writes reach files and network",
                advice="run the evaluation in a container that holds nothing else",
            )
        return {"pass@1": float(outcome.verdict == "passed")}


def _sample(record: Record) -> Sample:
    entry_point = record.text("entry_point")
    if not entry_point.isidentifier():
        raise record.mistake(f"the entry point {entry_point!r} is not the name of a function")
    problem = _Problem(record.text("test"), entry_point)
    return Sample(record.text("task_id"), record.text("prompt"), "", record.text("canonical_solution"), problem)
