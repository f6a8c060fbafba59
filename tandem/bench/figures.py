"""Figures of a run, computed from its groups alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tandem.bench.records import Cell, Group, Text
from tandem.evaluation.statistics import Estimate

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of a duration, in seconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread | None:
        """None where there is nothing."""
        return cls(*map(float, np.percentile(seconds, (50, 95, 99)))) if seconds else None


@dataclass(frozen=True, slots=True)
class Figures:
    """One contender at one concurrency."""

    contender: str
    concurrency: int
    num_requests: int
    num_tokens: int
    tokens_per_second: Estimate
    """Of all requests together, whole requests with their prompts: geometric mean over repetitions."""
    time_to_first_token: Spread | None
    time_per_output_token: Spread | None
    """Of each request, after its first token."""
    inter_token: Spread | None
    """Waits between arrivals; tokens that arrive together are one arrival."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Tokens per second of one contender over those of another, or of itself at another concurrency."""

    contender: str
    concurrency: int
    over: str
    over_concurrency: int
    value: Estimate


@dataclass(frozen=True, slots=True)
class Rounds:
    """Traced rounds at one concurrency."""

    concurrency: int
    num_rounds: int
    stages: dict[str, Spread]
    """By name: the stages of `stage_seconds`, the whole period, and what of it is outside the models."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many texts of a contender are, token for token, those of the first that answered the same requests."""

    contender: str
    first: str
    share: float


def geometric_mean(values: Sequence[float]) -> Estimate:
    """With its interval by Student's t over the logarithms; without one where there is one value."""
    logs = np.log(values)
    mean = float(logs.mean())
    if len(logs) < 2:
        return Estimate(float(np.exp(mean)))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * stats.sem(logs))
    return Estimate(*(float(np.exp(mean + side)) for side in (0.0, -half, half)))


class Measured:
    """A run's groups by contender and concurrency."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.contenders = tuple(dict.fromkeys(cell.contender for group in groups for cell in group.cells))
        self.levels = tuple(sorted({group.concurrency for group in groups}))
        self._cells = {
            (cell.contender, group.concurrency, group.repetition): cell for group in groups for cell in group.cells
        }

    def cells(self, contender: str, concurrency: int) -> dict[int, Cell]:
        """By repetition."""
        return {
            repetition: cell
            for (name, level, repetition), cell in self._cells.items()
            if (name, level) == (contender, concurrency)
        }

    def figures(self) -> list[Figures]:
        """Of every contender at every concurrency at which it was measured."""
        return [
            _figures(name, level, list(cells.values()))
            for level in self.levels
            for name in self.contenders
            if (cells := self.cells(name, level))
        ]

    def ratio(self, contender: str, concurrency: int, over: str, over_concurrency: int) -> Estimate | None:
        """Over the repetitions that both have; None where there are none."""
        mine, others = self.cells(contender, concurrency), self.cells(over, over_concurrency)
        both = [mine[key].tokens_per_second / others[key].tokens_per_second for key in mine if key in others]
        return geometric_mean(both) if both else None

    def ratios(self, ours: Sequence[str]) -> list[Ratio]:
        """Each of ours over everybody else at the same concurrency, and over itself alone."""
        return list(self._ratios(ours))

    def _ratios(self, ours: Sequence[str]) -> Iterator[Ratio]:
        for level in self.levels:
            for name in ours:
                pairs = [(other, level) for other in self.contenders if other != name]
                if level > 1:
                    pairs.append((name, 1))
                for over, over_level in pairs:
                    value = self.ratio(name, level, over, over_level)
                    if value is not None:
                        yield Ratio(name, level, over, over_level, value)

    def rounds(self) -> list[Rounds]:
        """Of every concurrency at which rounds were traced."""
        found = []
        for level in self.levels:
            traced = [each for group in self.groups if group.concurrency == level for each in group.rounds]
            if traced:
                spreads = {name: Spread.of([each[name] for each in traced]) for name in traced[0]}
                stages = {name: spread for name, spread in spreads.items() if spread is not None}
                found.append(Rounds(level, len(traced), stages))
        return found

    def agreements(self) -> list[Agreement]:
        """Of all contenders but the first of each set of requests."""
        shares: dict[tuple[str, str], list[bool]] = {}
        for group in self.groups:
            first: dict[int, Cell] = {}
            for cell in group.cells:
                leader = first.setdefault(cell.number, cell)
                if leader is not cell:
                    same = shares.setdefault((cell.contender, leader.contender), [])
                    same += [a.checksum == b.checksum for a, b in zip(cell.texts, leader.texts, strict=True)]
        return [Agreement(name, first_name, float(np.mean(same))) for (name, first_name), same in shares.items()]


def _figures(contender: str, concurrency: int, cells: Sequence[Cell]) -> Figures:
    texts = [text for cell in cells for text in cell.texts]
    return Figures(
        contender,
        concurrency,
        len(texts),
        sum(cell.num_tokens for cell in cells),
        geometric_mean([cell.tokens_per_second for cell in cells]),
        Spread.of([text.arrivals[0].seconds for text in texts]),
        Spread.of([_per_token(text) for text in texts if text.num_tokens > text.arrivals[0].num_tokens]),
        Spread.of([gap for text in texts for gap in _gaps(text)]),
    )


def _per_token(text: Text) -> float:
    """Seconds a token after the first arrival."""
    rest = text.num_tokens - text.arrivals[0].num_tokens
    return (text.arrivals[-1].seconds - text.arrivals[0].seconds) / rest


def _gaps(text: Text) -> list[float]:
    return [after.seconds - before.seconds for before, after in zip(text.arrivals, text.arrivals[1:], strict=False)]
