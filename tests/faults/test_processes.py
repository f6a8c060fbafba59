"""The short form of the matrix, first half: processes that end, stop, are cut off. ``make faults`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.figures import NotHere, Row
from tests.faults.matrix import PROCESSES, run_row

SHORT = [row for row in PROCESSES if row.short]


@pytest.mark.slow
@pytest.mark.parametrize("row", SHORT, ids=[row.name for row in SHORT])
async def test_the_promise_is_kept(row: Row, tmp_path: Path) -> None:
    try:
        found = await run_row(row, row.short, tmp_path)
    except NotHere as reason:
        pytest.skip(str(reason))
    assert row.problems(found) == []
