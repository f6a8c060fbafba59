"""``python -m tests.faults``: the matrix, row by row, as a table; ``make faults`` runs it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.faults.figures import NotHere
from tests.faults.matrix import ROWS, cells, markdown, run_row, table

BEGIN, END = "<!-- the matrix: written by `make faults` -->", "<!-- end of the matrix -->"


def main() -> int:
    """Runs the rows that were asked for; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    named = ", ".join(row.name for row in ROWS if row.only_named)
    every = f"rows to run, all but {named} if none is named: {', '.join(row.name for row in ROWS)}"
    parser.add_argument("rows", nargs="*", help=every)
    parser.add_argument("--trials", type=int, help=f"trials of each row at most; minutes, of {named}")
    parser.add_argument("--short", action="store_true", help="as few trials as the test suite has")
    parser.add_argument("--out", type=Path, help="file that has the table between two markers; gets the rows that ran")
    parser.add_argument(
        "--evidence", type=Path, default=Path("build/faults"), help=f"folder for what {named} has found so far"
    )
    asked = parser.parse_args()
    if unknown := set(asked.rows) - {row.name for row in ROWS}:
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    lines: dict[str, str] = {}
    broken = False
    for row in ROWS:
        num_trials = row.short if asked.short else min(asked.trials or row.long, row.long)
        wanted = row.name in asked.rows if asked.rows or row.only_named else True
        if not num_trials or not wanted:
            continue
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="faults-") as folder:
                found = asyncio.run(run_row(row, num_trials, Path(folder), asked.evidence))
        except NotHere as reason:
            print(f"{row.name}: skipped: {reason}", flush=True)
            continue
        except Exception:
            print(f"{row.name}: not finished\n{traceback.format_exc()}", flush=True)
            broken = True
            continue
        problems, shown = row.problems(found), cells(row, found)
        broken |= bool(problems)
        lines[row.fault] = markdown(shown)
        print(f"{row.name}: {' · '.join(shown[2:])} · {time.monotonic() - began:.0f} s in all", flush=True)
        for problem in problems[:20]:
            print(f"  {problem}", flush=True)
        if asked.out is not None:
            write(asked.out, {row.fault: lines[row.fault]})
    print("\n" + table(lines))
    return int(broken)


def write(path: Path, lines: dict[str, str]) -> None:
    """Puts rows into the table that the file has between the markers, in place of what it had of them."""
    before, _, rest = path.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    had = {line.split("|")[1].strip(): line for line in written.splitlines() if line.startswith("| ")}
    path.write_text(f"{before}{BEGIN}\n{table(had | lines)}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
