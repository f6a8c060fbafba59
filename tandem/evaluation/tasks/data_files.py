"""Reading a task's data: JSON and JSON Lines, whose mistakes are told with file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tandem.errors import InvalidArgument
from tandem.evaluation.task import Sample

_MAX_RECORDS = 200_000
_MAX_FILE_BYTES = 1 << 30  # once unpacked


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object of a file."""

    where: str
    """File and line, for messages."""
    fields: dict[str, Any]

    def text(self, name: str) -> str:
        """A field that must be there, and be text that is not empty.

        Raises:
            InvalidArgument: it is not.
        """
        value = self.fields.get(name)
        if not isinstance(value, str) or not value:
            raise self.mistake(f"expected text in the field {name!r}, {self._found(name)}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A field that holds a list of texts; nothing where it is absent.

        Raises:
            InvalidArgument: it holds anything else.
        """
        value = self.fields.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.mistake(f"expected a list of texts in the field {name!r}, {self._found(name)}")
        return tuple(value)

    def key(self, name: str) -> str | int:
        """A field that names the record: text or a whole number.

        Raises:
            InvalidArgument: it is neither.
        """
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise self.mistake(f"expected text or a whole number in the field {name!r}, {self._found(name)}")
        return value

    def mistake(self, what: str) -> InvalidArgument:
        """The error that says what is wrong with this record."""
        return InvalidArgument(f"{self.where}: {what}")

    def _found(self, name: str) -> str:
        if name not in self.fields:
            return f"which is missing; the record has {', '.join(sorted(self.fields)) or 'no fields'}"
        return f"found {_shortened(json.dumps(self.fields[name]))}"


def read_json_lines(path: Path) -> list[Record]:
    """Every record of a JSON Lines file, which may be packed with gzip (``.gz``). Empty lines are passed over.

    Raises:
        InvalidArgument: the file cannot be read, is too large, or a line is not a JSON object.
    """
    records: list[Record] = []
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            records.append(_record(where, _parsed(where, line)))
        if len(records) > _MAX_RECORDS:
            raise InvalidArgument(f"{path} has more than {_MAX_RECORDS} records; split it")
    return _not_empty(path, records)


def read_json_list(path: Path) -> list[Record]:
    """Every record of a JSON file that holds one list of objects.

    Raises:
        InvalidArgument: the file cannot be read, is too large, or holds anything else.
    """
    content = _parsed(str(path), b"".join(_lines(path)))
    if not isinstance(content, list):
        raise InvalidArgument(f"{path}: expected a list of records, found {_shortened(json.dumps(content))}")
    if len(content) > _MAX_RECORDS:
        raise InvalidArgument(f"{path} has more than {_MAX_RECORDS} records; split it")
    return _not_empty(path, [_record(f"{path}, record {number}", item) for number, item in enumerate(content, start=1)])


def unique(samples: Iterable[tuple[Record, Sample]]) -> list[Sample]:
    """The samples, once no two of them have the same id.

    Raises:
        InvalidArgument: two have, by the places of both.
    """
    places: dict[str, Record] = {}
    found = []
    for record, sample in samples:
        first = places.setdefault(sample.id, record)
        if first is not record:
            raise record.mistake(f"the id {sample.id!r} is taken by {first.where}; ids must differ")
        found.append(sample)
    return found


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            left = _MAX_FILE_BYTES
            # A file of JSON may be a single line, so a line is bounded only by what a file may hold.
            while line := file.readline(left + 1):
                left -= len(line)
                if left < 0:
                    raise InvalidArgument(f"{path} holds more than {_MAX_FILE_BYTES >> 20} MiB; split it")
                yield line
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidArgument(f"cannot read {path}: {reason}; expected a file of the task's data") from error


def _parsed(where: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{where}: not JSON ({error}): {_shortened(text.decode(errors='replace'))}") from error


def _record(where: str, content: Any) -> Record:
    if not isinstance(content, dict):
        raise InvalidArgument(f"{where}: expected a JSON object, found {_shortened(json.dumps(content))}")
    return Record(where, content)


def _not_empty(path: Path, records: list[Record]) -> list[Record]:
    if not records:
        raise InvalidArgument(f"{path} has no records; expected one at least")
    return records


def _shortened(text: str) -> str:
    return text.strip() if len(text) <= 80 else f"{text[:80].strip()}…"
