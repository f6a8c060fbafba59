"""How many draft replicas a verify replica is worth: as many as keep it busy, by the times of rounds."""

from __future__ import annotations

from tandem.decoding.values import Outcome
from tandem.recent import Recent

RECENT_SECONDS = 60.0


class Ratio:
    """γ·t_draft / t_verify: the time that drafting a proposal takes, over that of the pass that judges it."""

    def __init__(self) -> None:
        self._drafting, self._judging = Recent(RECENT_SECONDS), Recent(RECENT_SECONDS)
        self._value = 0.0

    def note(self, outcome: Outcome) -> None:
        """Takes in the times of a round that was drafted for; of others there is nothing to learn."""
        timings = outcome.timings
        if timings.draft_seconds and timings.forward_seconds:
            self._drafting.add(timings.draft_seconds)
            self._judging.add((timings.forward_seconds + timings.judge_seconds) / max(1, outcome.num_target_passes))

    @property
    def value(self) -> float:
        """By the rounds of the last minute, else by those before: it is the models' and the machines', and stays.

        0 while nothing has been drafted yet.
        """
        drafting, judging = self._drafting.mean, self._judging.mean
        if drafting and judging:
            self._value = drafting / judging
        return self._value
