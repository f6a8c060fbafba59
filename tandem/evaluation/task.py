"""What a task is: samples to ask, and how answers are scored. A task of one's own is a class like those in `tasks/`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to ask."""

    id: str
    """Unique within the task, and the same in every run: answers are paired and resumed by it."""
    prompt: str
    """What the model reads; of several turns, the first."""
    question: str = ""
    """What a person reads in a report; the prompt where empty."""
    reference: str = ""
    """The answer that is wanted, where there is one, as a person reads it."""
    data: Any = None
    """What the task needs to score an answer; never written anywhere."""


class Task(ABC):
    """A set of samples and a way to score their answers.

    Scores are numbers by name, averaged over samples. Perplexity, speed and acceptance are measured for every task
    without its help.
    """

    name: ClassVar[str]
    """As it stands in reports."""
    # An instance may set the following to what its own data wants.
    primary: str | None = None
    """The score, between 0 and 1, that is meant by "accuracy"; None where answers are not scored."""
    max_tokens: int = 256
    """Of an answer."""
    stop: tuple[str, ...] = ()
    """Strings that end an answer."""

    @abstractmethod
    def samples(self, limit: int | None) -> Sequence[Sample]:
        """The first ``limit`` samples, or all: the same ones at every call.

        Raises:
            InvalidArgument: the data is not what was expected.
        """

    def score(self, sample: Sample, answers: Sequence[str]) -> Mapping[str, float]:
        """Scores by name; nothing unless overridden. Runs in a thread of its own, one call at a time.

        A sample may have fewer scores than another, where it has no reference.

        Args:
            sample: what was asked.
            answers: the generated text of each turn, without end token and stop string.
        """
        return {}

    def next_prompt(self, sample: Sample, answers: Sequence[str]) -> str | None:
        """The whole prompt of the turn after these answers, or None when there is none: one turn unless overridden."""
        return None

    def export(self, folder: Path, name: str, answers: Mapping[str, Sequence[str]]) -> None:
        """Writes the answers in a format that other tools read; nothing unless overridden.

        Called at the end, once for each configuration, with the answers of its first repetition.

        Args:
            folder: exists, and is the run's own.
            name: of the configuration.
            answers: the generated text of each turn, by sample id.
        """
        return None
