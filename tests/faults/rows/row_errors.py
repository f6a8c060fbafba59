"""One row of a batch has logits that are no numbers, or brings the whole pass down."""

from __future__ import annotations

from tandem.errors import InvariantBroken, RowFailed, TandemError
from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.load import METHODS, Ask, Load
from tests.faults.stage import Stage, staged
from tests.faults.tables import POISON_NAN, POISON_RAISE


async def not_a_number(given: Surroundings, num_trials: int) -> Figures:
    return await _poisoned(given, num_trials, POISON_NAN)


async def exception(given: Surroundings, num_trials: int) -> Figures:
    return await _poisoned(given, num_trials, POISON_RAISE)


async def _poisoned(given: Surroundings, num_trials: int, poison: tuple[int, ...]) -> Figures:
    """Only the target's passes are poisoned: where drafting fails, another drafter or none goes on."""
    async with (
        staged(given.zygote, given.folder, verifies=1, drafts=1) as stage,
        disturbed(stage) as found,
    ):
        for number in range(num_trials):
            await found.under_way()
            ask = Ask(METHODS[number % len(METHODS)], number, 3, prompt=poison)
            found.figures.trials += 1
            found.figures.took_effect += await _fails_clearly(found.load, ask)
        if poison == POISON_RAISE:
            found.figures.remarks.append(f"{_failed_passes(stage)} passes failed")
    return found.figures


async def _fails_clearly(load: Load, ask: Ask) -> bool:
    """Whether a request fails with an error of its own, after it had begun."""
    shown = 0
    try:
        async with load.client.stream(ask.prompt, **ask.options) as stream:
            async for part in stream:
                shown += len(part.token_ids)
    except (RowFailed, InvariantBroken):
        return shown > 0
    except TandemError as error:
        load.tally.failed.append(f"{ask}: failed as it should, but with {error!r}")
    return False


def _failed_passes(stage: Stage) -> int:
    return stage.of("verify")[0].log.read_text().count('"a pass failed"')


ROWS = (
    Row(
        name="row-nan",
        fault="NaN in one row's logits, in the midst of its text",
        promise="that session fails with a clear error; the rest are identical",
        run=not_a_number,
        short=4,
        long=100,
    ),
    Row(
        name="row-exception",
        fault="an exception in one row, in the midst of its text",
        promise="that session fails with a clear error; the rest are identical",
        run=exception,
        short=4,
        long=100,
    ),
)
