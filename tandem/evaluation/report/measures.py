"""What plots show of a configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.wording import PERCENT, Format, precise
from tandem.evaluation.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure with its name and direction."""

    key: str
    title: str
    more_is_better: bool
    of: Callable[[Figures], Estimate | None]
    is_share: bool = False
    unit: str = ""
    """On an axis, where it is not the title."""

    def known(self, rows: Sequence[Figures]) -> list[tuple[Figures, Estimate]]:
        """The rows in which it is a number."""
        pairs = ((row, self.of(row)) for row in rows)
        return [(row, figure) for row, figure in pairs if figure is not None and math.isfinite(figure.value)]

    def form(self, rows: Sequence[Figures]) -> Format:
        """How its values are written."""
        return PERCENT if self.is_share else precise(self.of(row) for row in rows)

    @property
    def axis(self) -> str:
        """The label of an axis that shows it."""
        return f"{self.unit or self.title} ({self.direction})"

    @property
    def direction(self) -> str:
        """Which way is better."""
        return "higher is better" if self.more_is_better else "lower is better"


PERPLEXITY = Measure("output_perplexity", "perplexity", False, lambda row: row.output_perplexity)
BLOCK_EFFICIENCY = Measure(
    "block_efficiency", "block efficiency", True, lambda row: row.block_efficiency, unit="tokens per target pass"
)
SPEED = Measure("tokens_per_second", "tokens per second", True, lambda row: row.tokens_per_second)


def primary(rows: Sequence[Figures]) -> Measure | None:
    """The score that is meant by "accuracy"; None where the task has none."""
    name = rows[0].primary
    return None if name is None else Measure(name, spoken(name), True, lambda row: row.accuracy, is_share=True)


def spoken(name: str) -> str:
    """A field's name in a sentence."""
    return name.replace("_", " ")
