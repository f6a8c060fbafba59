"""Colours of the report, in a light and a dark form, by the name of the CSS variable that holds them.

Plots are drawn in the light ones. When a plot is inlined each becomes its variable, so one drawing serves both forms:
no two names may therefore share a light colour. Pairs were chosen to stay apart for colour-blind readers, after Okabe
and Ito, and to have a contrast of 3 with their background, 4.5 where they colour text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tandem.evaluation.experiment import Configuration

LIGHT = {
    "page": "#f5f6f8",
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "muted": "#56606b",
    "axis": "#8b949e",
    "grid": "#e4e8ec",
    "line": "#d5dae0",
    "soft": "#eef1f4",
    "link": "#0a58a8",
    "better": "#0b6b4b",
    "worse": "#a8400a",
    "accepted": "#0a5f49",
    "accepted-back": "#d9f0e6",
    "refused": "#9c3a08",
    "refused-back": "#fde8dc",
    "extra": "#0b4f96",
    "extra-back": "#dcebfb",
    "series-0": "#6b7480",
    "series-1": "#0072b2",
    "series-2": "#c8500a",
    "series-3": "#00805f",
    "series-4": "#b0478a",
    "series-5": "#8f7000",
    "series-6": "#2c2f8f",
    "series-7": "#1793b8",
    "ordinal-0": "#c77d1e",
    "ordinal-1": "#c2463f",
    "ordinal-2": "#8d2f7c",
    "ordinal-3": "#4a3d9e",
    "ordinal-4": "#16617a",
    "ordinal-5": "#134b30",
    "draft": "#d3731b",
    "serialise": "#b3a04a",
    "wire": "#9aa3ad",
    "queue": "#a9cdea",
    "forward": "#2077b4",
    "judge": "#0d3f6b",
    "commit": "#7e5aa6",
    "emit": "#c98fb8",
}
DARK = {
    "page": "#0e1116",
    "paper": "#161b22",
    "ink": "#e6ebf1",
    "muted": "#a0abb7",
    "axis": "#6e7985",
    "grid": "#262d36",
    "line": "#323a45",
    "soft": "#1f262f",
    "link": "#74b5f5",
    "better": "#4fcf9f",
    "worse": "#f59a62",
    "accepted": "#7fdcb8",
    "accepted-back": "#12382c",
    "refused": "#ffab7a",
    "refused-back": "#45210f",
    "extra": "#9bcbff",
    "extra-back": "#12335a",
    "series-0": "#98a2ae",
    "series-1": "#56b4e9",
    "series-2": "#f28b45",
    "series-3": "#2cc597",
    "series-4": "#e591c7",
    "series-5": "#e2c441",
    "series-6": "#9d9ff5",
    "series-7": "#8fe3f7",
    "ordinal-0": "#f7d06b",
    "ordinal-1": "#f4926b",
    "ordinal-2": "#e179c1",
    "ordinal-3": "#a48cf0",
    "ordinal-4": "#5fb6d6",
    "ordinal-5": "#6fd39b",
    "draft": "#ee9440",
    "serialise": "#cdbb63",
    "wire": "#7b8590",
    "queue": "#a9d3f3",
    "forward": "#4b9fdb",
    "judge": "#3d6fa3",
    "commit": "#b394d8",
    "emit": "#e3b3d3",
}

SERIES = tuple(LIGHT[f"series-{index}"] for index in range(8))
ORDINAL = tuple(LIGHT[f"ordinal-{index}"] for index in range(6))
MOST_LOOKS = 11
"""Configurations that are told apart by their looks; of more, methods are."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SIGNS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "★")
"""The markers, as characters."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a configuration is drawn, in every plot alike."""

    slot: int
    """Of `SERIES`."""
    shape: int
    """Of `MARKERS`."""

    @property
    def colour(self) -> str:
        """In the light form."""
        return SERIES[self.slot]

    @property
    def marker(self) -> str:
        """Of points; told apart without colour."""
        return MARKERS[self.shape]

    @property
    def sign(self) -> str:
        """The marker in a line of text."""
        return SIGNS[self.shape]


def looks(labelled: Mapping[str, Configuration], baseline: str) -> dict[str, Look]:
    """A look by label: the baseline is grey; others have one each or, where there are too many, one a method.

    Colours that come a second time come with another marker.
    """
    others = [label for label in labelled if label != baseline]
    keys = others if is_one_each(labelled) else [labelled[label].method for label in others]
    own = {key: _look(index) for index, key in enumerate(dict.fromkeys(keys))}
    found = {label: own[key] for label, key in zip(others, keys, strict=True)}
    return {label: found.get(label, Look(0, 0)) for label in labelled}


def _look(index: int) -> Look:
    again, colour = divmod(index, len(SERIES) - 1)
    return Look(1 + colour, (1 + colour + 3 * again) % len(MARKERS))


def is_one_each(labels: Mapping[str, object] | Sequence[object]) -> bool:
    """Whether there are few enough configurations for a look each."""
    return len(labels) <= MOST_LOOKS
