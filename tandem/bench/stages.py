"""Where the time of a round goes, from traced rounds and from when their tokens arrived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tandem.bench.contender import Answer
from tandem.evaluation.showing import stage_seconds

PERIOD = "period"
"""From the arrival of the tokens of the round before to that of this round's: what a client waits for a round."""
OUTSIDE = "outside"
"""The period less drafting and the target's pass: what the two models do not need."""


def rounds_of(answers: Sequence[Answer]) -> Iterator[dict[str, float]]:
    """Seconds by stage, with `PERIOD` and `OUTSIDE`, of every round but each text's first, which reads the prompt.

    Rounds that arrived together with others have no period of their own and are left out.
    """
    for answer in answers:
        before = None
        arrived = [arrival for arrival, _ in answer.rounds]
        for arrival, traced in answer.rounds:
            if before is not None and arrived.count(arrival) == 1:
                stages = stage_seconds(traced.timings)
                period = arrival.seconds - before
                yield {**stages, PERIOD: period, OUTSIDE: period - stages["draft"] - stages["forward"]}
            before = arrival.seconds
