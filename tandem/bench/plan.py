"""What is to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tandem.decoding.methods import METHODS
from tandem.errors import InvalidArgument
from tandem.generation import Options

Place = Literal["services", "local"]
PLACES: tuple[Place, ...] = get_args(Place)
ANSWER = "answer"
"""As a length: each request's own, that of the answer to its question."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: every contender answers fresh requests in every repetition, at every concurrency."""

    methods: tuple[str, ...] = ("mtad",)
    places: tuple[Place, ...] = PLACES
    peers: tuple[str, ...] = ()
    concurrency: tuple[int, ...] = (1, 4, 16, 32)
    repetitions: int = 5
    requests: int = 4
    """Of a contender in one repetition at one concurrency, at least: it is rounded up to whole concurrencies."""
    max_tokens: str = "64"
    """Tokens of every text: a number; two with a dash between them, each text's length being drawn; or `ANSWER`."""
    draft_length: int = 4
    beam_width: int = 4
    threshold: float | None = None
    temperature: float = 0.0
    top_k: int = 10
    top_p: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        _known("method", self.methods, tuple(METHODS))
        _known("place", self.places, PLACES)
        for name in ("methods", "places", "concurrency"):
            values = getattr(self, name)
            if not values:
                raise InvalidArgument(f"{name} is empty; expected one at least")
            if len(set(values)) < len(values):
                raise InvalidArgument(f"{name} names {', '.join(map(str, values))}; expected each once")
        for name in ("repetitions", "requests", *(["concurrency"] if min(self.concurrency) < 1 else [])):
            value = getattr(self, name)
            if name == "concurrency" or value < 1:
                raise InvalidArgument(f"{name} is {value}; expected 1 or more")
        _ = self.lengths

    @property
    def lengths(self) -> tuple[int, int] | None:
        """Least and most tokens of a text; None where each has its own answer's.

        Raises:
            InvalidArgument: ``max_tokens`` has none of its forms.
        """
        if self.max_tokens == ANSWER:
            return None
        try:
            least, most = (int(part) for part in (self.max_tokens.split("-") * 2)[:2])
        except ValueError:
            least, most = 0, 0
        if not 1 <= least <= most:
            raise InvalidArgument(
                f"max-tokens is {self.max_tokens!r}; expected a number such as 64, a range such as 32-96, or {ANSWER}"
            )
        return least, most

    @property
    def levels(self) -> tuple[int, ...]:
        """Concurrencies in order."""
        return tuple(sorted(self.concurrency))

    def num_requests(self, concurrency: int) -> int:
        """Of one contender in one repetition."""
        return -(-max(self.requests, concurrency) // concurrency) * concurrency

    def options(self, method: str) -> Options:
        """How Tandem decodes."""
        return Options(
            method=method,
            draft_length=self.draft_length,
            beam_width=self.beam_width,
            threshold=self.threshold,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        )


def _known(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InvalidArgument(f"{what} {name!r} is not known; expected {', '.join(known)}")
