"""Runs a draft replica: ``python -m draft_service --draft MODEL``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from draft_service.drafter import Limits
from draft_service.service import DraftService
from draft_service.settings import DraftSettings
from tandem.engine.hosting import host_model
from tandem.models import shipped
from tandem.rpc.server import Listen, leave, run, serve
from tandem.telemetry import configure_logging, new_registry
from tandem.tokenization import tokenizer_digest


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM; returns the exit code: 0, or 2 with one line on stderr."""

    async def replica() -> None:
        settings = DraftSettings.load(sys.argv[1:] if argv is None else argv)
        configure_logging(settings.role, settings.log_level)
        draft = settings.draft or str(shipped("draft"))
        registry = new_registry()
        tls = settings.open_tls()
        limits = Limits(
            settings.max_leases, settings.max_warm_sessions, settings.max_batch, settings.round_timeout_seconds
        )
        service = DraftService(
            lambda: host_model(
                draft,
                dtype=settings.dtype,
                device=settings.device,
                num_threads=settings.threads,
                num_kv_blocks=settings.kv_blocks,
                kv_memory_share=settings.kv_memory_share,
                compile=settings.compile,
                powercap_root=settings.powercap_root,
            ),
            tokenizer_digest(draft),
            limits,
            registry,
            tls,
        )
        listen = Listen(
            settings.host, settings.port, settings.metrics_port, settings.ready_file, tls, settings.registration()
        )
        await serve(service, listen, registry)

    return run(replica)


if __name__ == "__main__":
    leave(main())
