"""Records as a run would make them, for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tandem.evaluation import records as stored
from tandem.evaluation.evaluation import open_run
from tandem.evaluation.experiment import Experiment
from tandem.evaluation.records import Record, ShownRound, Turn
from tandem.evaluation.runner import Work
from tandem.evaluation.summary import Run
from tandem.evaluation.task import Sample, Task


def usage(**given: Any) -> dict[str, Any]:
    """A request's figures: ten tokens in four rounds of two drafted tokens, six of them accepted."""
    return {
        "method": "mtad",
        "prompt_tokens": 5,
        "completion_tokens": 10,
        "mean_acceptance_length": 2.5,
        "draft_acceptance_rate": 0.75,
        "acceptance_histogram": [0, 2, 2],
        "num_spec_steps": 4,
        "num_accepted_draft_tokens": 6,
        "num_draft_tokens": 8,
        "num_target_passes": 4,
        "output_negative_log_likelihood": 1.0,
        "output_perplexity": 1.105,
        "time_to_first_token_seconds": 0.02,
        "time_per_output_token_seconds": 0.002,
        "draft_joules": None,
        "verify_joules": None,
    } | given


def shown(**given: Any) -> ShownRound:
    """A traced round: one of two drafted tokens accepted, then corrected."""
    fields: dict[str, Any] = {
        "candidates": ((" SELECT", " a"),),
        "num_accepted": 1,
        "extra": " b",
        "draft_log_prob": -0.5,
        "target_log_prob": -1.5,
        "stage_seconds": {
            "draft": 0.004,
            "wire": 0.001,
            "queue": 0.0,
            "forward": 0.006,
            "judge": 0.001,
            "commit": 0.0005,
        },
    }
    return ShownRound(**(fields | given))


def record(**given: Any) -> Record:
    """An answer; ``usage`` and ``rounds`` among what is given are its only turn's."""
    turn = Turn(
        given.pop("text", " SELECT b"),
        "stop",
        usage(**given.pop("usage", {})),
        tuple(given.pop("rounds", ())),
    )
    fields: dict[str, Any] = {
        "task": "text-to-sql",
        "configuration": "mtad",
        "repetition": 0,
        "block": 0,
        "block_seconds": 0.5,
        "sample": "s0",
        "question": "Which?",
        "reference": "SELECT a",
        "seed": 1,
        "turns": (turn,),
        "scores": {"execution_accuracy": 1.0},
        "error": "",
    }
    return Record(**(fields | given))


class Given(Task):
    """Samples as they are given; an answer is right when it is the reference."""

    name = "given"
    primary = "exact"
    max_tokens = 7
    stop = ("###",)

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def samples(self, limit: int | None) -> Sequence[Sample]:
        return self._samples[:limit]

    def score(self, sample: Sample, answers: Sequence[str]) -> dict[str, float]:
        return {"exact": float(answers[-1] == sample.reference)}


def run_of(folder: Path, records: Sequence[Record], environment: dict[str, Any] | None = None, **given: Any) -> Run:
    """A finished run with these records on disk."""
    labels = list(dict.fromkeys(record.configuration for record in records))
    experiment = Experiment.load(None, {"methods": labels, **given})
    tasks = list(dict.fromkeys(record.task for record in records))
    works = []
    for name in tasks:
        samples = dict.fromkeys(record.sample for record in records if record.task == name)
        task = type(name, (Given,), {"name": name, "primary": "execution_accuracy"})([])
        works.append(Work(task, [Sample(sample, sample) for sample in samples]))
    open_run(folder, experiment, works, environment or {"machine": "x", "processors": 2})
    stored.append(folder, records)
    return Run.load(folder)
