"""All rows, and how they are run and shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.rows import (
    chaos,
    clients,
    draft_gone,
    drain,
    kills,
    kv_pool,
    malformed,
    network,
    pairing,
    rounds,
    row_errors,
    shipped,
    stopped,
    store,
)
from tests.faults.spawning import Zygote

ROWS: tuple[Row, ...] = (
    *kills.ROWS,
    *draft_gone.ROWS,
    *stopped.ROWS,
    *store.ROWS,
    *rounds.ROWS,
    *kv_pool.ROWS,
    *row_errors.ROWS,
    *clients.ROWS,
    *pairing.ROWS,
    *network.ROWS,
    *drain.ROWS,
    *malformed.ROWS,
    *chaos.ROWS,
    *shipped.ROWS,
)

HEAD = ("fault", "promise", "took effect", "sessions", "failed", "wrong", "stall p50", "stall p99")


async def run_row(row: Row, num_trials: int, folder: Path) -> Figures:
    """Runs one row with processes of its own."""
    zygote = Zygote()
    await zygote.start()
    try:
        return await row.run(Surroundings(zygote, folder), num_trials)
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
    )


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as a Markdown table, as wide as they need."""
    lines = [HEAD, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]

    def shown(line: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"

    return "\n".join([shown(HEAD), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(shown, rows)])
