"""``python -m tests.support.table_service ROLE TOKENIZER …flags``: a draft or verify service whose model is a table.

Everything but the model is the real service, with its real settings. No torch is imported, so it serves soon.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from draft_service.drafter import Limits as DraftLimits
from draft_service.service import DraftService
from draft_service.settings import DraftSettings
from tandem.decoding.values import Floats
from tandem.decoding.warp import Candidates
from tandem.engine.hosting import HostedModel
from tandem.engine.tree_model import Row
from tandem.rpc.server import Listen, leave, run, serve
from tandem.telemetry import configure_logging, new_registry
from tandem.tokenization import tokenizer_digest
from tests.support.model_services import DRAFT, TARGET, hosted
from tests.support.tabular import TabularModel
from verify_service.service import VerifyService
from verify_service.sessions import Limits as VerifyLimits
from verify_service.settings import VerifySettings

PASS_SECONDS = 0.004
MAX_POSITIONS = 4096


class SlowTable(TabularModel):
    """A table whose every pass takes a while."""

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        time.sleep(PASS_SECONDS)
        return super().candidates(rows, width, num_top)


def _hosted(table: Floats) -> HostedModel:
    return replace(hosted(table, SlowTable(table)), max_positions=MAX_POSITIONS)


def main(argv: Sequence[str]) -> int:
    """Runs until SIGTERM, as the service's own main does."""
    role, tokenizer, *flags = argv

    async def service() -> None:
        settings = (VerifySettings if role == "verify" else DraftSettings).load(flags)
        configure_logging(role, settings.log_level)
        registry = new_registry()
        digest = tokenizer_digest(tokenizer)
        made: VerifyService | DraftService
        if role == "verify":
            made = VerifyService(lambda: _hosted(TARGET), digest, VerifyLimits(), registry)
        else:
            made = DraftService(lambda: _hosted(DRAFT), digest, DraftLimits(), registry)
        listen = Listen(
            settings.host,
            settings.port,
            settings.metrics_port,
            settings.ready_file,
            settings.open_tls(),
            settings.registration(),
        )
        await serve(made, listen, registry)

    return run(service)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
