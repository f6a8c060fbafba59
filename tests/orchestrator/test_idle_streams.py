"""The benchmark of idle streams, in small: they cost a file descriptor each, end as they should, and leave nothing."""

from __future__ import annotations

from benchmarks.idle_streams import measure


async def test_streams_that_wait_are_held_and_end_as_they_should() -> None:
    figures = await measure(num_streams=40, num_witnesses=5)
    assert figures.num_ended == 80
    assert figures.during.file_descriptors == figures.again.file_descriptors == figures.before.file_descriptors + 40
    assert figures.after.file_descriptors == figures.before.file_descriptors
    assert all(len(held.witness_seconds) == 5 for held in (figures.during, figures.again))
