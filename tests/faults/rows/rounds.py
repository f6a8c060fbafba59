"""Rounds, verdicts and outcomes that arrive twice, again, or in another order."""

from __future__ import annotations

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.load import Load, asks
from tests.faults.stage import staged, until

LEAST_MISCHIEFS = 10
"""A session has at least so many in its messages, on the average."""


async def misdelivered(given: Surroundings, num_trials: int) -> Figures:
    async with staged(given.zygote, given.folder / "plain") as stage:
        load = Load(stage.addresses, asks(range(6)))
        await load.learn()
        await load.client.close()
    async with staged(given.zygote, given.folder, mischief=True) as stage:
        async with disturbed(stage) as found:
            tally = found.load.tally
            await until(lambda: tally.num_sessions >= num_trials, "all sessions have begun", 60 + num_trials)
        replicas = [*stage.of("verify"), *stage.of("draft")]
        num_mischiefs = sum(member.points.num_mischiefs for member in replicas)
        found.figures.trials = tally.num_sessions
        found.figures.took_effect = min(tally.num_sessions, num_mischiefs // LEAST_MISCHIEFS)
        found.figures.remarks.append(f"{num_mischiefs} messages arrived otherwise than they were sent")
    return found.figures


ROWS = (
    Row(
        name="rounds-misdelivered",
        fault="rounds, verdicts, outcomes and watermarks delivered twice, replayed and reordered",
        promise="one append a round",
        run=misdelivered,
        short=4,
        long=500,
    ),
)
