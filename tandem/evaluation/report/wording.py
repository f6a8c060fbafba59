"""Numbers as a person reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from tandem.evaluation.statistics import Estimate

MISSING = "–"
NOT_MEASURED = "not measured"
Format = Callable[[float], str]


def fixed(decimals: int, sign: bool = False, scale: float = 1.0, unit: str = "") -> Format:
    """A format of so many decimals, with a real minus sign, and `MISSING` for what is not a finite number."""

    def formatted(value: float) -> str:
        if not math.isfinite(value):
            return MISSING
        text = f"{value * scale:.{decimals}f}"
        if not text.strip("-0."):  # a negative zero, or what rounds to one
            return text.lstrip("-") + unit
        return ("+" if sign and value > 0 else "") + text.replace("-", "−") + unit

    return formatted


PERCENT = fixed(1, scale=100, unit="%")
POINTS = fixed(1, sign=True, scale=100)
"""Differences of shares, in percentage points."""
SIGNED_PERCENT = fixed(0, sign=True, scale=100, unit="%")
TIMES = fixed(2, unit="×")


def interval(figure: Estimate | None, form: Format) -> str:
    """Its bounds in brackets, or nothing. A unit stands behind the figure and is left out here."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    low, high = (form(bound).rstrip("%×") for bound in (figure.low, figure.high))
    return f"[{low}, {high}]"


def stated(figure: Estimate, form: Format) -> str:
    """A figure and its interval."""
    return f"{form(figure.value)} {interval(figure, form)}".rstrip()


def precise(figures: Iterable[Estimate | None], sign: bool = False) -> Format:
    """A format with as many decimals as the narrowest of the intervals deserves: two digits of its half width."""
    halves = [
        (figure.high - figure.low) / 2
        for figure in figures
        if figure is not None and figure.low is not None and figure.high is not None and figure.high > figure.low
    ]
    if not halves:
        return fixed(3, sign)
    return fixed(min(4, max(0, 1 - math.floor(math.log10(min(halves))))), sign)


def seconds(value: float | None) -> str:
    """A short time in milliseconds, a long one in seconds."""
    if value is None or not math.isfinite(value):
        return MISSING
    milliseconds = value * 1e3
    if milliseconds >= 10_000:
        return f"{value:.1f} s"
    return f"{milliseconds:.{0 if milliseconds >= 100 else 1}f} ms"


def count(number: int, noun: str, plural: str = "") -> str:
    """As in: 1 sample, 2 samples."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def slug(name: str) -> str:
    """A name as a part of ids and file names, where not every character may stand."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def differs(difference: Estimate, neutral: float = 0.0) -> int:
    """1 or -1 where the whole interval lies above or below ``neutral``; 0 where it does not, or there is none."""
    if difference.low is None or difference.high is None:
        return 0
    return int(difference.low > neutral) - int(difference.high < neutral)
