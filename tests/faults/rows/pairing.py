"""Replicas that do not fit: another tokenizer, another way to draw, another protocol."""

from __future__ import annotations

import itertools

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.stage import Member, Stage, staged

ODDITIES = (
    ("tokenizer_digest", "f" * 64, "tokenizer"),
    ("drawing_version", 99, "draws by version 99"),
    ("protocol_version", 99, "protocol"),
    ("role", "orchestrator", "orchestrator service"),
)
"""A field of the description, what stands there, and what the refusal must name."""


async def does_not_fit(given: Surroundings, num_trials: int) -> Figures:
    """One of two replicas is odd: it is never paired, the log says why, and the other serves everybody."""
    whole = Figures()
    turns = itertools.cycle(itertools.product(ODDITIES, ("draft-1", "verify-1")))
    for number, ((field, value, named), victim) in enumerate(itertools.islice(turns, num_trials)):
        folder = given.folder / str(number)
        async with staged(given.zygote, folder, oddities={victim: (field, value)}) as stage:
            async with disturbed(stage) as found:
                await found.under_way()
            odd = stage.members[victim]
            whole.trials += 1
            whole.took_effect += _is_refused_for(stage, odd, named)
            if _num_passes(stage, odd):
                whole.tally.wrong.append(f"{victim} was given work, although its {field} is {value}")
        whole.tally.num_sessions += found.load.tally.num_sessions
        whole.tally.failed += found.load.tally.failed
        whole.tally.wrong += found.load.tally.wrong
        whole.left_behind += found.figures.left_behind
    return whole


def _is_refused_for(stage: Stage, odd: Member, named: str) -> bool:
    lines = stage.of("orchestrator")[0].log.read_text().splitlines()
    return any("replica refused" in line and odd.address in line and named in line for line in lines)


def _num_passes(stage: Stage, member: Member) -> float:
    return stage.metrics(member)["tandem:batch_size_count"]


ROWS = (
    Row(
        name="pairing",
        fault="a replica with another tokenizer, drawing version, protocol or role, beside one that fits",
        promise="never paired, says why",
        run=does_not_fit,
        short=2,
        long=8,
    ),
)
