"""Runs made by hand: records as the runner writes them, without anything that generates."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tandem.decoding.methods import METHODS
from tandem.decoding.stats import Usage
from tandem.evaluation.experiment import Experiment
from tandem.evaluation.records import Record, ShownRound, Turn
from tandem.evaluation.summary import Run

STAGES = {"draft": 0.01, "wire": 0.004, "queue": 0.001, "forward": 0.02, "judge": 0.001, "commit": 0.002}
Edit = Callable[[Record], Record]


def usage(rng: random.Random, method: str, draft_length: int, joules: tuple[float, float] | None = None) -> Usage:
    drafts = not METHODS[method].target_only
    num_tokens = rng.randint(6, 30)
    num_steps = max(1, num_tokens // (draft_length + 1)) if drafts else 0
    kept = [rng.randint(0, draft_length) for _ in range(num_steps)]
    nll = num_tokens * rng.uniform(0.05, 0.4)
    return Usage(
        method=method,
        prompt_tokens=10,
        completion_tokens=num_tokens,
        mean_acceptance_length=1.0,
        draft_acceptance_rate=0.5,
        acceptance_histogram=tuple(kept.count(length) for length in range(draft_length + 1)) if drafts else (),
        num_spec_steps=num_steps,
        num_accepted_draft_tokens=sum(kept),
        num_draft_tokens=num_steps * draft_length,
        num_target_passes=num_steps or num_tokens,
        output_negative_log_likelihood=nll,
        output_perplexity=1.2,
        time_to_first_token_seconds=rng.uniform(0.02, 0.05),
        time_per_output_token_seconds=rng.uniform(0.002, 0.009),
        draft_joules=joules and joules[0],
        verify_joules=joules and joules[1],
    )


def rounds_of(method: str) -> tuple[ShownRound, ...]:
    """A correction, a bonus and an end; or two tokens of the target's own."""
    if METHODS[method].target_only:
        return (
            ShownRound((), 0, " SELECT", 0.0, 0.0, STAGES | {"draft": 0.0}),
            ShownRound((), 0, "\n", 0.0, 0.0, STAGES | {"draft": 0.0}),
        )
    drafted = ((" SELECT", " name", ",", " x"), (" SELECT", " age"))
    return (
        ShownRound(drafted, 2, " FROM", -1.5, -2.25, STAGES),
        ShownRound(((" items", " WHERE"),), 2, " x", -0.5, -0.25, STAGES),
        ShownRound(((" = 1", "<|end|>", "<|end|>"),), 2, "", -0.5, float("-inf"), STAGES),
    )


def make_run(
    folder: Path,
    *,
    tasks: Sequence[str] = ("text-to-sql",),
    primary: str | None = "execution_accuracy",
    num_samples: int = 12,
    traced: int = 2,
    joules: tuple[float, float] | None = None,
    edit: Edit = lambda record: record,
    **experiment: Any,
) -> Run:
    """A run of so many samples a task and configuration; ``edit`` has the last word on every record."""
    plan = Experiment.load(None, {"task": list(tasks), "methods": ["autoregressive", "mtad"]} | experiment)
    records = []
    for task in tasks:
        for number, (label, configuration) in enumerate(plan.labelled().items()):
            rng = random.Random(number)
            for row in range(num_samples):
                turn = Turn(
                    f" answer {row}",
                    "stop",
                    asdict(usage(rng, configuration.method, configuration.draft_length or 4, joules)),
                    rounds_of(configuration.method) if row < traced else (),
                )
                score = {primary: float(rng.random() < 0.6)} if primary else {}
                record = Record(
                    task=task,
                    configuration=label,
                    repetition=0,
                    block=row // 4,
                    block_seconds=rng.uniform(0.8, 1.2),
                    sample=f"sample-{row}",
                    question=f"Question {row}?",
                    reference="SELECT 1",
                    seed=row,
                    turns=(turn,),
                    scores=score,
                )
                records.append(edit(record))
    folder.mkdir(exist_ok=True)
    environment = {"target": "/models/target", "target_digest": "ab" * 32, "target_dtype": "float32", "processors": 2}
    return Run(folder, plan, dict.fromkeys(tasks, primary), len(records), environment, records)


def failed(record: Record) -> Record:
    return replace(record, turns=(), scores={"execution_accuracy": 0.0}, error="no draft replica <is> alive")


def answered(text: str, question: str = "") -> Edit:
    """Every answer's text, and the texts of its tokens."""

    def edit(record: Record) -> Record:
        turns = tuple(
            replace(turn, text=text, rounds=tuple(replace(shown, extra=text) for shown in turn.rounds))
            for turn in record.turns
        )
        return replace(record, turns=turns, question=question or record.question)

    return edit
