"""A run's answers on disk: ``samples.jsonl``, one line an answer, appended block by block and never rewritten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tandem.errors import InvalidArgument

FILE_NAME = "samples.jsonl"


@dataclass(frozen=True, slots=True)
class ShownRound:
    """A traced round as a person reads it: texts of tokens rather than ids."""

    candidates: tuple[tuple[str, ...], ...]
    """The drafted paths from root to leaf, the one that was accepted (or came nearest) first; none without a draft."""
    num_accepted: int
    """Of the first candidate's tokens."""
    extra: str
    """The target's own token, or tokens where it decoded alone; empty where the text ended before."""
    draft_log_prob: float
    """Joint, warped, of the first candidate as a whole; 0 without one."""
    target_log_prob: float
    """As the draft's; -inf where the target excludes it."""
    stage_seconds: dict[str, float]
    """By stage, as `tandem.evaluation.showing.stage_seconds` names them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One generated text."""

    text: str
    finish_reason: str
    usage: dict[str, Any]
    """The fields of :class:`tandem.generation.Usage`."""
    rounds: tuple[ShownRound, ...] = ()
    """Where the sample was traced."""


@dataclass(frozen=True, slots=True)
class Record:
    """What came of one sample."""

    task: str
    configuration: str
    """Its label."""
    repetition: int
    block: int
    """Samples are asked block by block, every configuration in turn; speed is measured over blocks."""
    block_seconds: float
    """How long the whole block took this configuration."""
    sample: str
    question: str
    reference: str
    seed: int
    turns: tuple[Turn, ...]
    scores: dict[str, float]
    error: str = ""
    """Why there is no answer; empty where there is one."""

    def to_json(self) -> str:
        """One line. Infinities are written as JavaScript does, which `json` reads back."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Raises: ValueError, KeyError or TypeError for anything but a line of `to_json`."""
        fields = json.loads(line)
        turns = []
        for turn in fields.pop("turns"):
            rounds = tuple(
                ShownRound(**{**shown, "candidates": tuple(map(tuple, shown["candidates"]))})
                for shown in turn.pop("rounds")
            )
            turns.append(Turn(**turn, rounds=rounds))
        return cls(**fields, turns=tuple(turns))


def append(folder: Path, records: Iterable[Record]) -> None:
    """Adds records, all of them or, where writing fails, possibly a torn last line, which `read` leaves out."""
    with (folder / FILE_NAME).open("a", encoding="utf-8") as file:
        file.write("".join(record.to_json() + "\n" for record in records))
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Iterator[Record]:
    """The records of a run, in the order in which they were made. A torn last line is left out.

    Raises:
        InvalidArgument: there are none, or a line is no record.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise InvalidArgument(f"{folder} is not a run: it has no {FILE_NAME}; expected a folder made by `tandem eval`")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                yield Record.from_json(line)
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidArgument(f"{path}, line {number} is no record of a sample: {error}") from None


def repair(folder: Path) -> None:
    """Cuts a torn last line off, so that appending goes on after a whole one."""
    path = folder / FILE_NAME
    if path.exists():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            path.write_bytes(whole)
