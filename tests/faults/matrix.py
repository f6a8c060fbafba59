"""All rows, and how they are run and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.rows import (
    chaos,
    clients,
    disk,
    draft_gone,
    drain,
    failover,
    hour,
    kills,
    kv_pool,
    loss,
    malformed,
    network,
    pairing,
    rounds,
    row_errors,
    shipped,
    slow,
    stopped,
    store,
    wall_clocks,
)
from tests.faults.spawning import Zygote

PROCESSES: tuple[Row, ...] = (
    *kills.ROWS,
    *draft_gone.ROWS,
    *stopped.ROWS,
    *slow.ROWS,
    *drain.ROWS,
    *network.ROWS,
    *loss.ROWS,
    *chaos.ROWS,
    *hour.ROWS,
    *shipped.ROWS,
)
"""Rows in which processes die, stop, leave, or do not reach one another."""

REST: tuple[Row, ...] = (
    *store.ROWS,
    *failover.ROWS,
    *disk.ROWS,
    *wall_clocks.ROWS,
    *rounds.ROWS,
    *kv_pool.ROWS,
    *row_errors.ROWS,
    *clients.ROWS,
    *pairing.ROWS,
    *malformed.ROWS,
)
"""Rows about what the processes are given: by Redis, by one another, by clients."""

ROWS = (*PROCESSES, *REST)

HEAD = ("fault", "promise", "took effect", "sessions", "failed", "wrong", "stall p50", "stall p99", "besides")


async def run_row(row: Row, num_trials: int, folder: Path, evidence: Path | None = None) -> Figures:
    """Runs one row with processes of its own."""
    zygote = Zygote()
    await zygote.start()
    try:
        return await row.run(Surroundings(zygote, folder, evidence), num_trials)
    finally:
        await zygote.close()


def cells(row: Row, found: Figures) -> tuple[str, ...]:
    """A row as the table has it."""
    return (
        row.fault,
        row.promise,
        f"{found.took_effect}/{found.trials}",
        str(found.tally.num_sessions),
        str(len(found.tally.failed)),
        str(len(found.tally.wrong)),
        f"{found.stall_p50:.2f} s" if found.stalls else "–",
        f"{found.stall_p99:.2f} s" if found.stalls else "–",
        "; ".join(found.remarks),
    )


def markdown(cells: Sequence[str]) -> str:
    """A line of the table."""
    return f"| {' | '.join(cells)} |"


def table(lines: Mapping[str, str]) -> str:
    """The whole table from the lines that there are, by fault, in the order of the matrix."""
    faults = [row.fault for row in ROWS]
    body = [lines[fault] for fault in faults if fault in lines]
    return "\n".join([markdown(HEAD), "|" + "---|" * len(HEAD), *body])
