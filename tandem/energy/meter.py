"""Who pays for the energy: the texts of each pass, by the tokens that the model read for them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tandem.energy.counter import EnergyCounter, NotMeasured, Source
from tandem.telemetry import logger


class EnergyMeter:
    """Charges what a counter counts to the texts of each pass, while there is work; at rest nobody is charged.

    A pass pays from the end of the pass before it, or from when work began again after a rest: so waiting for the
    other model is paid for by whoever is waited for, and what is charged adds up to what was counted. `total_joules`
    may be read from any thread; all else is called by the thread that owns the model.
    """

    def __init__(self, counter: EnergyCounter) -> None:
        self.source: Source = counter.source
        self._counter: EnergyCounter | None = counter
        self._reading = threading.Lock()
        self._paid_up_to: float | None = None  # a reading of the counter; None at rest
        self._charged = 0.0

    def begin(self) -> None:
        """Work is about to be done: begins to charge, where it does not already."""
        if self._paid_up_to is None:
            self._paid_up_to = self.total_joules()

    def rest(self) -> None:
        """There is no work: what is used until the next `begin` is charged to nobody."""
        self._paid_up_to = None

    def charge(self, num_tokens: Sequence[int]) -> list[float] | None:
        """Ends a pass that read so many tokens of each text; each one's joules, or None where not measured."""
        total_tokens = sum(num_tokens)
        if not total_tokens:
            return [0.0] * len(num_tokens)
        now, before = self.total_joules(), self._paid_up_to
        if now is None or before is None:
            return None
        self._paid_up_to = now
        self._charged += now - before
        of_a_token = (now - before) / total_tokens
        return [count * of_a_token for count in num_tokens]

    def total_joules(self) -> float | None:
        """All that was used since the start, by requests or by none; None once the counter has failed."""
        with self._reading:
            if self._counter is None:
                return None
            try:
                return self._counter.joules()
            except NotMeasured as reason:
                # For good: a figure with a hole in it would look like one without.
                self._counter = None
                logger("tandem.energy").warning("energy is no longer measured", reason=str(reason))
                return None

    def charged_joules(self) -> float:
        """What requests were charged since the start."""
        return self._charged
