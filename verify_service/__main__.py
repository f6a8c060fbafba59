"""Runs a verify replica: ``python -m verify_service --target MODEL``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tandem.engine.hosting import host_model
from tandem.models import shipped
from tandem.rpc.server import Listen, leave, run, serve
from tandem.telemetry import configure_logging, new_registry
from tandem.tokenization import tokenizer_digest
from verify_service.service import VerifyService
from verify_service.sessions import Limits
from verify_service.settings import VerifySettings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM; returns the exit code: 0, or 2 with one line on stderr."""

    async def replica() -> None:
        settings = VerifySettings.load(sys.argv[1:] if argv is None else argv)
        configure_logging(settings.role, settings.log_level)
        target = settings.target or str(shipped("target"))
        registry = new_registry()
        tls = settings.open_tls()
        limits = Limits(
            settings.max_sessions,
            settings.max_idle_sessions,
            settings.session_idle_seconds,
            settings.max_batch,
            settings.max_scores,
        )
        service = VerifyService(
            lambda: host_model(
                target,
                dtype=settings.dtype,
                device=settings.device,
                num_threads=settings.threads,
                num_kv_blocks=settings.kv_blocks,
                powercap_root=settings.powercap_root,
            ),
            tokenizer_digest(target),
            limits,
            registry,
        )
        listen = Listen(
            settings.host, settings.port, settings.metrics_port, settings.ready_file, tls, settings.registration()
        )
        await serve(service, listen, registry)

    return run(replica)


if __name__ == "__main__":
    leave(main())
