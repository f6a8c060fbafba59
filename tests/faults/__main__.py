"""``python -m tests.faults``: the matrix, row by row, as a table; ``make faults`` runs it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.matrix import ROWS, cells, run_row, table


def main() -> int:
    """Runs the rows that were asked for; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"rows to run, all if none is named: {', '.join(r.name for r in ROWS)}")
    parser.add_argument("--trials", type=int, help="trials of each row at most")
    parser.add_argument("--short", action="store_true", help="as few trials as the test suite has")
    parser.add_argument("--out", type=Path, help="file whose table between the markers is replaced")
    asked = parser.parse_args()
    if unknown := set(asked.rows) - {row.name for row in ROWS}:
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    shown, broken = [], False
    for row in ROWS:
        num_trials = row.short if asked.short else min(asked.trials or row.long, row.long)
        if not num_trials or (asked.rows and row.name not in asked.rows):
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            found = asyncio.run(run_row(row, num_trials, Path(folder)))
        problems = row.problems(found)
        broken |= bool(problems)
        shown.append(cells(row, found))
        print(f"{row.name}: {' · '.join(cells(row, found)[2:])} · {time.monotonic() - began:.0f} s", flush=True)
        for text in [*problems[:20], *found.remarks]:
            print(f"  {text}", flush=True)
    print("\n" + table(shown))
    if asked.out is not None:
        write(asked.out, table(shown))
    return int(broken)


BEGIN, END = "<!-- the matrix: written by `make faults` -->", "<!-- end of the matrix -->"


def write(path: Path, written: str) -> None:
    """Puts the table where the file has the markers."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{written}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
