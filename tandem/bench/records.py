"""What was measured, on disk: ``groups.jsonl``, a line for each repetition at each concurrency, written when whole."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tandem.bench.contender import Answer, Arrival
from tandem.errors import InvalidArgument

FILE_NAME = "groups.jsonl"


@dataclass(frozen=True, slots=True)
class Text:
    """One answered request."""

    num_tokens: int
    arrivals: tuple[Arrival, ...]
    checksum: int
    """Of the token ids: equal for equal texts."""

    @classmethod
    def of(cls, answer: Answer) -> Text:
        """Without the tokens themselves."""
        checksum = zlib.crc32(json.dumps(answer.token_ids).encode())
        return cls(len(answer.token_ids), answer.arrivals, checksum)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one contender did with its requests."""

    contender: str
    number: int
    """Of the set of requests that it answered; contenders with the same number answered the same ones."""
    seconds: float
    """From the first request to the last answer."""
    texts: tuple[Text, ...]

    @property
    def num_tokens(self) -> int:
        """Of all texts."""
        return sum(text.num_tokens for text in self.texts)

    @property
    def tokens_per_second(self) -> float:
        """Of all requests together."""
        return self.num_tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Group:
    """One repetition at one concurrency: all contenders in turn, then a traced run that is not timed."""

    repetition: int
    concurrency: int
    cells: tuple[Cell, ...]
    rounds: tuple[dict[str, float], ...] = ()
    """Of the traced run: seconds by stage (`tandem.bench.stages`)."""
    resident_bytes: tuple[tuple[str, int], ...] = ()
    """Resident memory of each process after the group, by role."""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Group:
        """Raises: ValueError, KeyError or TypeError for anything but a line of `to_json`."""
        fields: dict[str, Any] = json.loads(line)
        cells = tuple(
            Cell(**{**cell, "texts": tuple(_text(text) for text in cell["texts"])}) for cell in fields.pop("cells")
        )
        rounds = tuple(fields.pop("rounds"))
        resident = tuple((role, int(size)) for role, size in fields.pop("resident_bytes"))
        return cls(**fields, cells=cells, rounds=rounds, resident_bytes=resident)


def _text(fields: dict[str, Any]) -> Text:
    return Text(**{**fields, "arrivals": tuple(Arrival(**arrival) for arrival in fields["arrivals"])})


def append(folder: Path, group: Group) -> None:
    """Adds a group."""
    with (folder / FILE_NAME).open("a", encoding="utf-8") as file:
        file.write(group.to_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Sequence[Group]:
    """The groups so far, in the order in which they were made; none where there is no file. A torn last line is cut.

    Raises:
        InvalidArgument: a line is no group.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return ()
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        path.write_bytes(whole)
    return tuple(_parsed(path, whole.decode()))


def _parsed(path: Path, text: str) -> Iterator[Group]:
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            yield Group.from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidArgument(f"{path}, line {number} is no group of a benchmark: {error}") from None
