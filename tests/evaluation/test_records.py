"""Records survive being written, torn and read."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tandem.errors import InvalidArgument
from tandem.evaluation import records as stored
from tests.evaluation.made import record, shown


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = [
        record(text="naïve ' \n 日本", rounds=[shown(target_log_prob=-math.inf)]),
        record(sample="s1", turns=(), error="it broke", scores={}),
    ]
    stored.append(tmp_path, written[:1])
    stored.append(tmp_path, written[1:])
    assert list(stored.read(tmp_path)) == written


def test_a_torn_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    stored.append(tmp_path, [record()])
    path = tmp_path / stored.FILE_NAME
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(record(sample="s1").to_json().encode()[:-20])
    assert [found.sample for found in stored.read(tmp_path)] == ["s0"]
    stored.repair(tmp_path)
    assert path.read_bytes() == whole
    stored.append(tmp_path, [record(sample="s1")])
    assert [found.sample for found in stored.read(tmp_path)] == ["s0", "s1"]


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    stored.append(tmp_path, [record()])
    with (tmp_path / stored.FILE_NAME).open("a") as file:
        file.write('{"task": "x"}\n')
    with pytest.raises(InvalidArgument, match="line 2"):
        list(stored.read(tmp_path))


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="not a run"):
        list(stored.read(tmp_path))
