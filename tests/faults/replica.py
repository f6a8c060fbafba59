"""A verify or draft replica whose model is a table: ``python -m tests.faults.replica verify NAME FOLDER …flags``.

Everything but the model is the real service, with its real settings. No torch is imported, so it serves a fraction of a
second after its start.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from draft_service.drafter import Limits as DraftLimits
from draft_service.service import DraftService
from draft_service.settings import DraftSettings
from tandem.decoding.values import Floats
from tandem.decoding.warp import Candidates
from tandem.engine.hosting import BLOCK_SIZE, HostedModel
from tandem.engine.tree_model import Row
from tandem.rpc.server import Listen, leave, run, serve
from tandem.telemetry import configure_logging, new_registry
from tandem.tokenization import tokenizer_digest
from tests.faults.points import HookedServer, Points
from tests.faults.tables import (
    DRAFT,
    MAX_POSITIONS,
    POISON_NAN,
    POISON_RAISE,
    POISONED_FROM,
    TARGET,
    UNBOUNDED_BLOCKS,
    VOCAB_SIZE,
)
from tests.faults.wall_clock import WallClock
from tests.support.tabular import TabularModel, TabularSequence
from verify_service.service import VerifyService
from verify_service.sessions import Limits as VerifyLimits
from verify_service.settings import VerifySettings

PASS_SECONDS = 0.002
"""What a pass takes: time in which a fault can happen."""


class FaultyTable(TabularModel):
    """A table whose passes take a while, and pass the points ``before``, ``during`` and ``after``.

    A text that begins with `POISON_NAN` has logits that are no numbers once it is long enough; one that begins with
    `POISON_RAISE` has the whole pass fail.
    """

    def __init__(self, logits: Floats, points: Points, num_blocks: int, *, can_be_poisoned: bool) -> None:
        super().__init__(logits, capacity=num_blocks * BLOCK_SIZE)
        self._points = points
        self._can_be_poisoned = can_be_poisoned

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        self._points.reach("before", rows=len(rows))
        if any(self._is_poisoned(row, POISON_RAISE) for row in rows):
            raise RuntimeError("a kernel failed")
        found = super().candidates(rows, width, num_top)
        seconds = self._points.pass_seconds(PASS_SECONDS)
        time.sleep(seconds / 2)
        self._points.reach("during", rows=len(rows))
        time.sleep(seconds / 2)
        self._points.reach("after", rows=len(rows))
        start = 0
        for row in rows:
            stop = start + len(row.logits_at)
            if self._is_poisoned(row, POISON_NAN):
                found.logits[start:stop] = found.log_normaliser[start:stop] = np.nan
            start = stop
        return found

    def _is_poisoned(self, row: Row, poison: tuple[int, ...]) -> bool:
        assert isinstance(row.sequence, TabularSequence)
        text = [*row.sequence.settled, *row.token_ids]
        return self._can_be_poisoned and len(text) >= POISONED_FROM and tuple(text[: len(poison)]) == poison


class HookedVerify(VerifyService):
    """The verify service, with points around its verdicts."""

    points: Points

    def register(self, server: Any) -> None:
        super().register(HookedServer(server, self.points, _is_verdict))  # type: ignore[arg-type]


class HookedDraft(DraftService):
    """The draft service, with points around the outcomes it reports."""

    points: Points

    def register(self, server: Any) -> None:
        super().register(HookedServer(server, self.points, _is_outcome))  # type: ignore[arg-type]


def main(argv: Sequence[str]) -> int:
    """Runs until SIGTERM, as the service's own main does."""
    role, name, folder, *flags = argv
    WallClock(Path(folder), name).install()
    points = Points(Path(folder), name)

    async def replica() -> None:
        settings = (VerifySettings if role == "verify" else DraftSettings).load(flags)
        configure_logging(role, settings.log_level)
        registry = new_registry()
        verifies = role == "verify"
        num_blocks = settings.kv_blocks or UNBOUNDED_BLOCKS
        model = FaultyTable(TARGET if verifies else DRAFT, points, num_blocks, can_be_poisoned=verifies)

        def hosted() -> HostedModel:
            assert model.capacity is not None
            slots = model.capacity
            return HostedModel(
                model=model,
                name=f"{role} table",
                weights_digest=f"digest of the {role} table",
                vocab_size=VOCAB_SIZE,
                max_positions=MAX_POSITIONS,
                eos_token_ids=(0,),
                dtype="float64",
                num_kv_slots=slots,
                kv_usage=lambda: model.num_held / slots,
            )

        service: HookedVerify | HookedDraft
        if isinstance(settings, VerifySettings):
            verify_limits = VerifyLimits(
                settings.max_sessions, settings.max_idle_sessions, settings.session_idle_seconds, settings.max_batch
            )
            service = HookedVerify(hosted, tokenizer_digest(settings.target), verify_limits, registry)
        else:
            draft_limits = DraftLimits(
                settings.max_leases, settings.max_warm_sessions, settings.max_batch, settings.round_timeout_seconds
            )
            service = HookedDraft(hosted, tokenizer_digest(settings.draft), draft_limits, registry)
        service.points = points
        listen = Listen(settings.host, settings.port, settings.metrics_port, settings.ready_file)
        await serve(service, listen, registry)

    return run(replica)


def _is_verdict(message: Any) -> bool:
    return message.WhichOneof("body") in ("verdict", "decoded")


def _is_outcome(message: Any) -> bool:
    return bool(message.WhichOneof("body") == "outcome")


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
