"""Faults at random moments for an hour in one piece. Trials are minutes: each is counted, told, and written down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.faults.evidence import Evidence, Minute
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.load import Tally
from tests.faults.rows.chaos import Chaos, struck

MINUTE_SECONDS = 60.0
MAX_GROWTH_BYTES = 128 << 20
"""By how much the process that follows all sessions may be larger at the end."""


async def for_minutes(given: Surroundings, num_minutes: int) -> Figures:
    """A run that was stopped is gone on with: the figures say in how many pieces it was."""
    folder = given.evidence or given.folder
    evidence = Evidence(folder / "hour.jsonl")
    done = evidence.unfinished(num_minutes)
    piece = done[-1].piece + 1 if done else 1

    def keep(minute: Minute) -> None:
        evidence.add(minute)
        done.append(minute)
        print(
            f"hour: {'rest' if minute.is_last else f'minute {len(done)} of {num_minutes}'}: {minute.told()}", flush=True
        )

    try:
        async with struck(Surroundings(given.zygote, _logs_in(folder)), seed=len(done)) as chaos:
            for _ in range(len(done), num_minutes):
                ends = time.monotonic() + MINUTE_SECONDS
                while time.monotonic() < ends:
                    await chaos.strike()
                keep(_taken(chaos, Minute(piece)))
    except Exception as error:
        evidence.add(Minute(piece, failed=[f"minute {len(done) + 1}: {error!r}"]))  # which going on must not hide
        raise
    keep(_taken(chaos, Minute(piece, is_last=True)))
    return _summed(done, chaos.found.figures.left_behind)


def _taken(chaos: Chaos, minute: Minute) -> Minute:
    """What chaos and load have counted so far is taken from them, so that nothing grows."""
    load, figures = chaos.found.load, chaos.found.figures
    minute.faults = dict(chaos.counts)
    minute.trials, minute.took_effect = figures.trials, figures.took_effect
    minute.num_sessions = load.tally.num_sessions
    minute.failed, minute.wrong, minute.num_lost = [*load.tally.failed], [*load.tally.wrong], len(load.tally.lost)
    minute.longest_wait_seconds = load.longest_wait
    minute.own_bytes = psutil.Process().memory_info().rss
    figures.trials = figures.took_effect = load.tally.num_sessions = 0
    load.longest_wait = 0.0
    for counted in (chaos.counts, load.tally.failed, load.tally.wrong, load.tally.lost):
        counted.clear()
    return minute


def _summed(done: Sequence[Minute], left_behind: list[str]) -> Figures:
    minutes = [minute for minute in done if not minute.is_last]
    if (grown := minutes[-1].own_bytes - minutes[0].own_bytes) > MAX_GROWTH_BYTES:
        left_behind.append(f"the process that follows all sessions grew by {grown >> 20} MB")
    counts = {kind: sum(minute.faults.get(kind, 0) for minute in done) for minute in done for kind in minute.faults}
    return Figures(
        trials=sum(minute.trials for minute in done),
        took_effect=sum(minute.took_effect for minute in done),
        stalls=[minute.longest_wait_seconds for minute in minutes],
        tally=Tally(
            num_sessions=sum(minute.num_sessions for minute in done),
            failed=[problem for minute in done for problem in minute.failed],
            wrong=[problem for minute in done for problem in minute.wrong],
        ),
        left_behind=left_behind,
        remarks=[
            f"{len(minutes)} minutes in {len({minute.piece for minute in minutes})} piece(s)",
            ", ".join(f"{count} × {name}" for name, count in sorted(counts.items())),
            f"{sum(minute.num_lost for minute in done)} sessions ended in DATA_LOSS",
            "stall: by minute, the longest of any session",
        ],
    )


def _logs_in(folder: Path) -> Path:
    """A folder for what the processes of one piece say, which stays there."""
    logs = folder / f"hour-{time.strftime('%Y%m%d-%H%M%S')}"
    logs.mkdir(parents=True)
    return logs


ROWS = (
    Row(
        name="hour",
        fault="the same for an hour in one piece",
        promise="as above; memory bounded",
        run=for_minutes,
        short=0,
        long=60,
        only_named=True,
    ),
)
