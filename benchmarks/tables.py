"""Writes the tables of docs/benchmarks.md from runs of `tandem eval` and `tandem bench`, between marks of their names.

python -m benchmarks.tables quality build/eval/quality
python -m benchmarks.tables sweep build/eval/sweep
python -m benchmarks.tables bench-shipped build/bench/shipped
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.speed_tables import speed
from tandem.decoding.methods import METHODS
from tandem.evaluation.statistics import Estimate
from tandem.evaluation.summary import Run, Summary

DOCUMENT = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main(
    name: Annotated[str, typer.Argument(help="Which table: quality, sweep, or bench-NAME of a run of `tandem bench`.")],
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    document: Annotated[Path, typer.Option(help="Where to write it.")] = DOCUMENT,
) -> None:
    """Replaces what stands between the table's marks."""
    table = "\n".join(speed(run) if name.startswith("bench-") else TABLES[name](_finished(run)))
    begin, end = f"<!-- table: {name} -->", "<!-- end -->"
    text = document.read_text(encoding="utf-8")
    new, count = re.subn(rf"(?s){begin}\n.*?{end}", lambda _: f"{begin}\n{table}\n{end}", text)
    if count != 1:
        raise SystemExit(f"{document} has {count} places marked {begin}; expected one")
    document.write_text(new, encoding="utf-8")


def _finished(folder: Path) -> Summary:
    found = Run.load(folder)
    if found.num_missing:
        raise SystemExit(f"{folder} is not finished: {found.num_missing} answers are missing")
    return found.summary()


def quality(summary: Summary) -> Iterator[str]:
    """Every method: what it does to the text, and how fast."""
    (task,) = summary.tasks
    figures = summary.of_task(task)
    yield f"{figures[0].num_samples} answers of each method; 95% intervals in brackets."
    yield ""
    yield (
        "| method | accuracy | perplexity | accuracy − `autoregressive` | p | excess perplexity | block efficiency | "
        "acceptance rate | tokens/s | × `autoregressive` |"
    )
    yield "|---" * 10 + "|"
    for row in figures:
        differences = row.versus_baseline
        accuracy, p_value, excess, speed = "", "", "", ""
        if differences is not None and row.primary is not None:
            accuracy = points(differences.scores[row.primary])
            p_value = f"{differences.score_p_values[row.primary]:.4f}"
            excess = percent_change(differences.excess_perplexity_reduction)
            speed = interval(differences.tokens_per_second_ratio, 2)
        yield (
            f"| `{row.label}`{' (lossless)' if METHODS[row.label].lossless else ''} | {percent(row.accuracy)} | "
            f"{interval(row.output_perplexity, 4)} | {accuracy} | {p_value} | {excess} | "
            f"{interval(row.block_efficiency, 2)} | {percent(row.acceptance_rate)} | "
            f"{interval(row.tokens_per_second, 0)} | {speed} |"
        )


def sweep(summary: Summary) -> Iterator[str]:
    """A dial a table: method by method, the other dials at their defaults."""
    (task,) = summary.tasks
    figures = [row for row in summary.of_task(task) if row.configuration["threshold"] is not None]
    yield f"{figures[0].num_samples} answers of each configuration; 95% intervals in brackets."
    standard = {"draft_length": 4, "beam_width": 4, "threshold": 0.5}
    names = {"threshold": "threshold τ", "beam_width": "beam width b", "draft_length": "draft length γ"}
    for dial, name in names.items():
        others = {other: value for other, value in standard.items() if other != dial}
        yield ""
        yield f"| {name} | method | accuracy | perplexity | block efficiency | acceptance rate | tokens/s |"
        yield "|---" * 7 + "|"
        rows = [row for row in figures if all(row.configuration[other] == value for other, value in others.items())]
        for row in sorted(rows, key=lambda row: (row.configuration["method"] != "mtad", row.configuration[dial])):
            yield (
                f"| {row.configuration[dial]:g} | `{row.configuration['method']}` | {percent(row.accuracy)} | "
                f"{interval(row.output_perplexity, 4)} | {interval(row.block_efficiency, 2)} | "
                f"{percent(row.acceptance_rate)} | {interval(row.tokens_per_second, 0)} |"
            )


TABLES: dict[str, Callable[[Summary], Iterator[str]]] = {"quality": quality, "sweep": sweep}


def interval(figure: Estimate, digits: int) -> str:
    """A figure with its interval."""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"


def percent(figure: Estimate | None) -> str:
    """A share with its interval."""
    return "" if figure is None else interval(_scaled(figure, 100), 1).replace(" [", "% [")


def points(figure: Estimate) -> str:
    """A difference of shares in percentage points; bold where the interval excludes 0."""
    scaled = _scaled(figure, 100)
    assert scaled.low is not None
    assert scaled.high is not None
    text = f"{scaled.value:+.1f}"
    text = f"**{text}**" if scaled.low > 0 or scaled.high < 0 else text
    return f"{text} [{scaled.low:+.1f}, {scaled.high:+.1f}]"


def percent_change(reduction: Estimate) -> str:
    """A reduction as a change in percent."""
    assert reduction.low is not None
    assert reduction.high is not None
    low, high = -100 * reduction.high, -100 * reduction.low
    text = f"{-100 * reduction.value:+.0f}%"
    return f"{f'**{text}**' if low > 0 or high < 0 else text} [{low:+.0f}, {high:+.0f}]"


def _scaled(figure: Estimate, factor: float) -> Estimate:
    return Estimate(
        factor * figure.value,
        None if figure.low is None else factor * figure.low,
        None if figure.high is None else factor * figure.high,
    )


if __name__ == "__main__":
    typer.run(main)
