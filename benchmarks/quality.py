"""What the decoding methods do to text: accuracy and perplexity on held-out questions, paired between methods.

    python benchmarks/quality.py run --limit 1000 --seeds 3     decode (resumable: what is on disk is not decoded again)
    python benchmarks/quality.py report                         compare

Records go to build/quality/METHOD-SEED.jsonl, one line a question.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import binomtest

from tandem import LocalDecoder
from tandem.decoding.methods import METHODS
from tandem.evaluation.text_to_sql import Example, execution_match, held_out

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(width=120)

_FOLDER = Path("build/quality")
_RESAMPLES = 10_000
Floats = npt.NDArray[np.float64]


@app.command()
def run(
    limit: Annotated[int, typer.Option(help="Held-out questions.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Runs of every question, with other seeds.")] = 3,
    methods: Annotated[str, typer.Option(help="Comma-separated.")] = ",".join(METHODS),
    temperature: Annotated[float, typer.Option()] = 1.0,
    draft_length: Annotated[int, typer.Option()] = 4,
    batch: Annotated[int, typer.Option(help="Questions decoded together.")] = 32,
    threads: Annotated[int, typer.Option()] = 1,
    folder: Annotated[Path, typer.Option()] = _FOLDER,
) -> None:
    """Decodes every question with every method and seed."""
    torch.set_num_threads(threads)
    folder.mkdir(parents=True, exist_ok=True)
    examples = held_out(limit)
    decoder = LocalDecoder()
    for name, seed in itertools.product(methods.split(","), range(1, seeds + 1)):
        path = folder / f"{name}-{seed}.jsonl"
        if path.exists() and sum(1 for _ in path.open()) == limit:
            continue
        batches = [range(start, min(start + batch, limit)) for start in range(0, limit, batch)]
        unfinished = path.with_suffix(".part")
        with unfinished.open("w") as file:
            for indices in track(batches, f"{name}, seed {seed}", console=console):
                for record in _decode(
                    decoder, [examples[i] for i in indices], name, seed, indices.start, temperature, draft_length
                ):
                    file.write(json.dumps(record) + "\n")
        unfinished.rename(path)


def _decode(
    decoder: LocalDecoder,
    examples: Sequence[Example],
    method: str,
    seed: int,
    start: int,
    temperature: float,
    draft_length: int,
) -> Iterator[dict[str, object]]:
    generations = decoder.generate_all(
        [example.prompt for example in examples],
        method=method,
        temperature=temperature,
        draft_length=draft_length,
        seed=seed * 1_000_000 + start,
        max_tokens=128,
    )
    for example, generation in zip(examples, generations, strict=True):
        usage = generation.usage
        yield {
            "id": example.id,
            "correct": execution_match(example, generation.text),
            "num_tokens": usage.completion_tokens,
            "negative_log_likelihood": usage.output_negative_log_likelihood,
            "num_target_passes": usage.num_target_passes,
            "num_accepted": usage.num_accepted_draft_tokens,
            "num_drafted": usage.num_draft_tokens,
            "text": generation.text,
        }


@app.command()
def report(folder: Annotated[Path, typer.Option()] = _FOLDER, baseline: str = "autoregressive") -> None:
    """Prints each method's figures, its paired difference from the baseline, and the tests between lossless methods."""
    runs = {name: found for name in METHODS if (found := sorted(folder.glob(f"{name}-*.jsonl")))}
    records = {name: [[json.loads(line) for line in path.open()] for path in paths] for name, paths in runs.items()}
    figures = {name: _Figures(found) for name, found in records.items()}
    table = Table(
        "method",
        "accuracy",
        "perplexity",
        "block efficiency",
        "acceptance",
        f"accuracy − {baseline} [95%]",
        f"perplexity − {baseline} [95%]",
    )
    for name, found in figures.items():
        table.add_row(
            name,
            f"{found.accuracy:.1%}",
            f"{found.perplexity:.4f}",
            f"{found.total('num_tokens') / found.total('num_target_passes'):.2f}",
            f"{found.total('num_accepted') / max(1, found.total('num_drafted')):.1%}",
            *(("", "") if name == baseline else _differences(found, figures[baseline])),
        )
    console.print(table)
    lossless = [name for name in figures if METHODS[name].lossless]
    _mcnemar({name: figures[name].correct.ravel() for name in lossless})


class _Figures:
    """One method's records as arrays [seeds, questions]."""

    def __init__(self, runs: Sequence[Sequence[dict[str, float]]]) -> None:
        self._columns = {
            key: np.array([[record[key] for record in run] for run in runs], dtype=np.float64)
            for key in (
                "correct",
                "num_tokens",
                "negative_log_likelihood",
                "num_target_passes",
                "num_accepted",
                "num_drafted",
            )
        }

    def total(self, key: str) -> float:
        """Sum of a column."""
        return float(self._columns[key].sum())

    @property
    def correct(self) -> Floats:
        """1 where the query's result is right."""
        return self._columns["correct"]

    @property
    def accuracy(self) -> float:
        """Share of right queries."""
        return float(self.correct.mean())

    @property
    def perplexity(self) -> float:
        """Weighted by token."""
        return float(np.exp(self.total("negative_log_likelihood") / self.total("num_tokens")))

    def by_question(self, key: str) -> Floats:
        """A column summed over seeds, [questions]: questions are what is resampled."""
        summed: Floats = self._columns[key].sum(axis=0)
        return summed


def _differences(found: _Figures, base: _Figures) -> tuple[str, str]:
    """Paired bootstrap over questions: accuracy and perplexity differences with 95% intervals."""
    generator = np.random.default_rng(0)
    count = found.correct.shape[1]
    accuracy: list[float] = []
    perplexity: list[float] = []
    gain = found.correct.mean(axis=0) - base.correct.mean(axis=0)
    columns = [f.by_question(key) for f in (found, base) for key in ("negative_log_likelihood", "num_tokens")]
    for _ in range(_RESAMPLES):
        drawn = generator.integers(0, count, count)
        accuracy.append(float(gain[drawn].mean()))
        sums = [float(column[drawn].sum()) for column in columns]
        perplexity.append(float(np.exp(sums[0] / sums[1]) - np.exp(sums[2] / sums[3])))
    low, high = np.percentile(accuracy, [2.5, 97.5])
    lower, higher = np.percentile(perplexity, [2.5, 97.5])
    return (
        f"{100 * float(gain.mean()):+.1f} pt [{100 * low:+.1f}, {100 * high:+.1f}]",
        f"{found.perplexity - base.perplexity:+.4f} [{lower:+.4f}, {higher:+.4f}]",
    )


def _mcnemar(correct: dict[str, Floats]) -> None:
    """Exact McNemar tests between all pairs, with Holm's correction."""
    pairs = list(itertools.combinations(correct, 2))
    tests: list[tuple[float, str, str, int, int]] = []
    for one, other in pairs:
        first = int(((correct[one] == 1) & (correct[other] == 0)).sum())
        second = int(((correct[one] == 0) & (correct[other] == 1)).sum())
        p = binomtest(first, first + second).pvalue if first + second else 1.0
        tests.append((float(p), one, other, first, second))
    table = Table("lossless pair", "only first right", "only second right", "p (McNemar)", "p (Holm)")
    worst = 0.0
    for rank, (p, one, other, first, second) in enumerate(sorted(tests)):
        worst = max(worst, min(1.0, p * (len(tests) - rank)))
        table.add_row(f"{one}, {other}", str(first), str(second), f"{p:.3f}", f"{worst:.3f}")
    console.print(table)


if __name__ == "__main__":
    app()
