"""Does the gate catch planted regressions, and pass equal runs? How often, of many trials.

    python -m benchmarks.gate_power --trials 20 --limit 1500

Every trial makes four runs of `mtad` on held-out questions: a base; an equal one with another seed; and with the base's
seed, as a gate is used, one at threshold 0.001 and one whose judgement is off by one position. The gate holds the last
three against the base, with its own limits. All are decoded in one process, one after the other.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from tandem import LocalDecoder
from tandem.decoding.judgement.joint import JointSequence
from tandem.decoding.methods import METHODS
from tandem.decoding.rounds import Judged, RoundDraws
from tandem.decoding.values import Proposal, Speculation
from tandem.decoding.warp import Support
from tandem.evaluation.evaluation import open_run
from tandem.evaluation.experiment import Experiment
from tandem.evaluation.gate import Comparison, Limits, compare
from tandem.evaluation.respondent import Answer, Ask
from tandem.evaluation.runner import Runner, Work
from tandem.evaluation.summary import Run
from tandem.evaluation.tasks.text_to_sql import TextToSql

BATCH = 32
"""Questions decoded together."""
PLANTED = {"equal": {}, "threshold 0.001": {"threshold": 0.001}, "off by one": {}}


@dataclass(frozen=True, slots=True)
class OffByOne:
    """A judgement gone wrong: it keeps one drafted token more than the joint rule does."""

    threshold: float

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        path = JointSequence(self.threshold).judge(proposal, target, draws).path
        longer = tuple(range(min(len(path) + 1, len(proposal.tree.token_ids))))
        return Judged(longer, target.log_probs[len(longer)])


class InProcess:
    """Answers in this process, ``BATCH`` texts together."""

    def __init__(self, decoder: LocalDecoder) -> None:
        self._decoder = decoder

    async def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """All of them; they differ in their seeds only, which follow one another."""
        answers: list[Answer] = []
        for start in range(0, len(asks), BATCH):
            some = asks[start : start + BATCH]
            answers += self._decoder.generate_all([ask.prompt for ask in some], **some[0].options)
        return answers


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Puts a wrong judgement in `mtad`'s place for a while."""
    right = METHODS["mtad"]

    def judgement(speculation: Speculation) -> OffByOne:
        return OffByOne(speculation.threshold)

    if name == "off by one":
        METHODS["mtad"] = dataclasses.replace(right, judgement=judgement)
    try:
        yield
    finally:
        METHODS["mtad"] = right


def main(
    trials: Annotated[int, typer.Option()] = 20,
    first: Annotated[int, typer.Option(help="Number of the first trial: which seeds are drawn.")] = 0,
    limit: Annotated[int, typer.Option(help="Held-out questions of a run.")] = 1500,
    threads: Annotated[int, typer.Option()] = 1,
    folder: Annotated[Path, typer.Option()] = Path("build/gate"),
) -> None:
    """Decodes what is not decoded yet, and prints how often the gate failed what."""
    torch.set_num_threads(threads)
    decoder = LocalDecoder()
    task = TextToSql()
    work = Work(task, task.samples(limit))
    found: dict[str, list[Comparison]] = {name: [] for name in PLANTED}
    for trial in range(first, first + trials):
        base = _run(decoder, work, folder / f"{trial}-base", 2 * trial, "base")
        for name in PLANTED:
            seed = 2 * trial + (name == "equal")
            new = _run(decoder, work, folder / f"{trial}-{name.replace(' ', '-')}", seed, name)
            found[name].append(compare(base, new, Limits()))
        print(trial, {name: [c.figure for c in all_[-1].having("drifted")] for name, all_ in found.items()}, flush=True)
    _print(found, trials, limit)


def _run(decoder: LocalDecoder, work: Work, folder: Path, seed: int, name: str) -> Run:
    given = {"methods": ["mtad"], "limit": len(work.samples), "seed": seed, "concurrency": BATCH, "trace": 0}
    experiment = Experiment.load(None, given | PLANTED.get(name, {}))
    done = open_run(folder, experiment, [work], {"machine": "here"})
    runner = Runner(experiment, [work], InProcess(decoder), folder, str)
    with planted(name):
        asyncio.run(runner.run(done, lambda *_: None))
    return Run.load(folder)


def _print(found: dict[str, list[Comparison]], trials: int, limit: int) -> None:
    table = Table("new run", "gate failed it", "because of", title=f"{trials} trials, {limit} questions a run")
    for name, comparisons in found.items():
        failed = [comparison for comparison in comparisons if comparison.having("drifted")]
        figures = [check.figure for comparison in failed for check in comparison.having("drifted")]
        reasons = ", ".join(f"{figure} {figures.count(figure)}" for figure in dict.fromkeys(figures))
        table.add_row(name, f"{len(failed)} of {trials}", reasons)
    Console(width=110).print(table)


if __name__ == "__main__":
    typer.run(main)
