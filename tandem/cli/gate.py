"""What ``tandem eval compare`` prints and writes."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tandem.evaluation.gate import Comparison
from tandem.evaluation.verdicts import headline, junit, markdown

_STYLES = {"ok": "green", "unclear": "yellow", "drifted": "bold red"}


def write(comparison: Comparison, junit_path: Path | None, markdown_path: Path | None) -> None:
    """Writes the files that were asked for."""
    if junit_path is not None:
        junit_path.write_text(junit(comparison), encoding="utf-8")
    if markdown_path is not None:
        markdown_path.write_text(markdown(comparison), encoding="utf-8")


def show(comparison: Comparison) -> None:
    """The checks as a table, the reasons of those that fail, and the verdict last."""
    console = Console()
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("configuration", "figure", "base", "new", "worse by", "at most", "limit", "verdict"):
        is_text = heading in ("configuration", "figure", "verdict")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=heading == "configuration")
    for check in comparison.checks:
        verdict = f"[{_STYLES[check.verdict]}]{check.verdict}[/]"
        numbers = (check.base, check.new, check.drift, check.highest, check.limit)
        table.add_row(check.configuration, check.figure, *numbers, verdict)
    console.print(table)
    for note in comparison.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False)
    for check in comparison.having("drifted"):
        console.print(check.reason, style="red", highlight=False, markup=False)
    console.print(headline(comparison), highlight=False)
