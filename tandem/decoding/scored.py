"""Given tokens at some places of texts, under the model as it gives them."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.decoding.most_probable import MostProbable
from tandem.decoding.rng import Flags
from tandem.decoding.values import Floats, Ids


@dataclass(frozen=True, slots=True)
class Scored:
    """How probable a given token was at each of some places, neither adjusted nor warped."""

    log_probs: Floats  # [places]
    ranks: Ids  # [places], 1 for the most probable, equals counted by rising id
    finite: Flags  # [places], whether the model's logits there are fit for use
    top: MostProbable | None = None
    """The most probable tokens of each place; None where not asked for."""
