"""A run as figures: ``summary.json``, computed from ``config.json`` and ``samples.jsonl`` and from nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tandem.evaluation import records as stored
from tandem.evaluation.experiment import Experiment
from tandem.evaluation.figures import Figures, figures_of
from tandem.evaluation.records import Record

FILE_NAME = "summary.json"
CONFIG_NAME = "config.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of every task and configuration, in the order of the experiment."""

    baseline: str
    """Label of the configuration that others are compared with."""
    environment: dict[str, Any]
    """What ran: models, their digests and number type, versions, processor."""
    figures: tuple[Figures, ...]
    format_version: int = FORMAT_VERSION

    def of_task(self, task: str) -> list[Figures]:
        """Figures of one task."""
        return [figures for figures in self.figures if figures.task == task]

    @property
    def tasks(self) -> list[str]:
        """Names, each once."""
        return list(dict.fromkeys(figures.task for figures in self.figures))

    def write(self, folder: Path) -> None:
        """Writes ``summary.json``; figures that are not a number or not measured are null."""
        text = json.dumps(_plain(asdict(self)), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / FILE_NAME).write_text(text + "\n", encoding="utf-8")


def by_task_and_configuration(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """Records of each (task, label)."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        found.setdefault((record.task, record.configuration), []).append(record)
    return found


def summarise(
    experiment: Experiment,
    primaries: Mapping[str, str | None],
    environment: Mapping[str, Any],
    records: Sequence[Record],
) -> Summary:
    """Figures of a run, or of what there is of it so far; ``primaries`` names each task's primary score."""
    found = by_task_and_configuration(records)
    baseline = experiment.baseline_label
    figures = []
    for task in dict.fromkeys(task for task, _ in found):
        for label, configuration in experiment.labelled().items():
            if (task, label) in found:
                base = found.get((task, baseline)) if label != baseline else None
                figures.append(figures_of(found[task, label], configuration.model_dump(), primaries.get(task), base))
    return Summary(baseline, dict(environment), tuple(figures))


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it lies on disk."""

    folder: Path
    experiment: Experiment
    primaries: dict[str, str | None]
    """Each task's primary score."""
    num_answers: int
    """How many the whole run has."""
    environment: dict[str, Any]
    records: list[Record]

    @property
    def num_missing(self) -> int:
        """Answers that are still to be asked for."""
        return self.num_answers - len(self.records)

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Reads a run.

        Raises:
            InvalidArgument: the folder holds none.
        """
        records = list(stored.read(folder))
        config = json.loads((folder / CONFIG_NAME).read_text())
        experiment = Experiment.load(None, config["experiment"])
        tasks = config["tasks"]
        num_answers = sum(task["samples"] for task in tasks.values())
        num_answers *= experiment.repetitions * len(experiment.labelled())
        primaries = {name: task["primary"] for name, task in tasks.items()}
        return cls(folder, experiment, primaries, num_answers, config["environment"], records)

    def summary(self) -> Summary:
        """Its figures."""
        return summarise(self.experiment, self.primaries, self.environment, self.records)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
