"""Asks every sample of every configuration and records what came of it.

Samples are asked block by block, every configuration in turn, the first one changing from block to block: a machine
whose speed drifts then moves all configurations alike. A block is recorded when it is whole, so a run that was stopped
goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tandem.errors import TandemError
from tandem.evaluation import records as stored
from tandem.evaluation.experiment import Configuration, Experiment
from tandem.evaluation.records import Record, Turn
from tandem.evaluation.respondent import Ask, Respondent
from tandem.evaluation.scorer import Scorer
from tandem.evaluation.showing import TokenText, shown
from tandem.evaluation.task import Sample, Task
from tandem.generation import Generation, Options

Done = set[tuple[str, str, int, str]]
"""(task, label, repetition, sample)."""

_BLOCK_FACTOR = 4  # a block's end, when places stand empty, should be a small part of it
_SEEDS_A_REPETITION = 1_000_000


@dataclass(frozen=True, slots=True)
class Work:
    """A task with its samples."""

    task: Task
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class _Block:
    work: Work
    repetition: int
    index: int
    rows: range
    label: str
    configuration: Configuration


class Runner:
    """One run."""

    def __init__(
        self,
        experiment: Experiment,
        works: Sequence[Work],
        respondent: Respondent,
        folder: Path,
        token_text: TokenText,
        scorers: Sequence[Scorer] = (),
    ) -> None:
        """Records go to ``folder``, which holds those of the run so far; ``scorers`` add scores to the task's own."""
        self._experiment = experiment
        self._works = works
        self._respondent = respondent
        self._folder = folder
        self._token_text = token_text
        self._scorers = scorers
        self._labelled = experiment.labelled()

    async def run(self, done: Done, advance: Callable[[str, str, int], None]) -> None:
        """Asks what is not done; ``advance`` is told (task, label, answers) after every block.

        Raises:
            TandemError: nobody answers any more. What was recorded stays, and another run goes on from there.
        """
        warm: set[str] = set()
        for block in self._blocks():
            missing = [
                row
                for row in block.rows
                if (block.work.task.name, block.label, block.repetition, block.work.samples[row].id) not in done
            ]
            if missing:
                if block.label not in warm:
                    await self._respondent.answer([self._ask(block, block.rows[0], block.work.samples[0].prompt)])
                    warm.add(block.label)
                records = await self._answer(block, missing)
                await asyncio.to_thread(stored.append, self._folder, records)
            advance(block.work.task.name, block.label, len(block.rows))

    def _blocks(self) -> Iterator[_Block]:
        size = self._experiment.concurrency * _BLOCK_FACTOR
        labels = list(self._labelled)
        for work in self._works:
            for repetition in range(self._experiment.repetitions):
                for index, start in enumerate(range(0, len(work.samples), size)):
                    rows = range(start, min(start + size, len(work.samples)))
                    first = (index + repetition) % len(labels)
                    for label in labels[first:] + labels[:first]:
                        yield _Block(work, repetition, index, rows, label, self._labelled[label])

    def _ask(self, block: _Block, row: int, prompt: str) -> Ask:
        experiment, task = self._experiment, block.work.task
        options: Options = block.configuration.options()
        options["seed"] = self._seed(block, row)
        options["max_tokens"] = experiment.max_tokens or task.max_tokens
        options["stop"] = task.stop
        options["trace"] = not block.repetition and row < experiment.trace
        return Ask(prompt, options)

    def _seed(self, block: _Block, row: int) -> int:
        """The same for every configuration: `coupled` then gives the text of `autoregressive`."""
        return (self._experiment.seed + block.repetition) * _SEEDS_A_REPETITION + row

    async def _answer(self, block: _Block, rows: Sequence[int]) -> list[Record]:
        samples = {row: block.work.samples[row] for row in rows}
        turns: dict[int, list[Generation]] = {row: [] for row in rows}
        errors: dict[int, TandemError] = {}
        prompts = {row: samples[row].prompt for row in rows}
        seconds = 0.0
        while prompts:
            asks = [self._ask(block, row, prompt) for row, prompt in prompts.items()]
            began = time.perf_counter()
            answers = await self._respondent.answer(asks)
            seconds += time.perf_counter() - began
            following: dict[int, str] = {}
            for row, answer in zip(prompts, answers, strict=True):
                if isinstance(answer, TandemError):
                    errors[row] = answer
                    continue
                turns[row].append(answer)
                prompt = block.work.task.next_prompt(samples[row], [turn.text for turn in turns[row]])
                if prompt is not None:
                    following[row] = prompt
            prompts = following
        scores = await asyncio.to_thread(self._score, block.work.task, samples, turns, errors)
        return [
            Record(
                task=block.work.task.name,
                configuration=block.label,
                repetition=block.repetition,
                block=block.index,
                block_seconds=seconds,
                sample=sample.id,
                question=sample.question or sample.prompt,
                reference=sample.reference,
                seed=self._seed(block, row),
                turns=() if row in errors else tuple(self._turn(turn) for turn in turns[row]),
                scores=scores[row],
                error=str(errors[row]) if row in errors else "",
            )
            for row, sample in samples.items()
        ]

    def _turn(self, generation: Generation) -> Turn:
        rounds = tuple(shown(traced, self._token_text) for traced in generation.rounds)
        return Turn(generation.text, generation.finish_reason, asdict(generation.usage), rounds)

    def _score(
        self,
        task: Task,
        samples: Mapping[int, Sample],
        turns: Mapping[int, Sequence[Generation]],
        errors: Mapping[int, TandemError],
    ) -> dict[int, dict[str, float]]:
        """A sample without an answer counts as wrong."""
        found: dict[int, dict[str, float]] = {}
        for row, sample in samples.items():
            if row in errors:
                found[row] = {task.primary: 0.0} if task.primary else {}
                continue
            texts = [turn.text for turn in turns[row]]
            found[row] = dict(task.score(sample, texts))
            for scorer in self._scorers:
                found[row] |= scorer(sample, texts)
        return found
