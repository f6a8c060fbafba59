"""Runs a verify replica: ``python -m verify_service --target MODEL``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from tandem.engine.hosting import ALONE, follow_model, host_model
from tandem.engine.place import Place
from tandem.models import shipped
from tandem.rpc.server import Listen, leave, run, serve
from tandem.telemetry import configure_logging, logger, new_registry
from tandem.tokenization import tokenizer_digest
from verify_service.followers import Followers
from verify_service.service import VerifyService
from verify_service.sessions import Limits
from verify_service.settings import VerifySettings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM; returns the exit code: 0, or 1 or 2 with one line on stderr."""
    arguments = sys.argv[1:] if argv is None else argv

    async def replica() -> None:
        settings = VerifySettings.load(arguments)
        configure_logging(settings.role, settings.log_level)
        if settings.parallelism == 1:
            await _serve(settings, ALONE)
            return
        place = Place.told(settings.parallelism, os.environ)
        if place is None:
            with Followers(settings.parallelism, arguments) as followers:
                await _serve(settings, followers.place)
        elif place.rank == 0:
            await _serve(settings, place)
        else:
            _follow(settings, place)

    return run(replica)


def _target(settings: VerifySettings) -> str:
    return settings.target or str(shipped("target"))


async def _serve(settings: VerifySettings, place: Place) -> None:
    """Serves, with the other ranks if there are any, until told to stop."""
    target = _target(settings)
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
            kv_memory_share=settings.kv_memory_share,
            compile=settings.compile,
            powercap_root=settings.powercap_root,
            place=place,
        ),
        tokenizer_digest(target),
        limits,
        registry,
    )
    listen = Listen(
        settings.host, settings.port, settings.metrics_port, settings.ready_file, tls, settings.registration()
    )
    await serve(service, listen, registry)


def _follow(settings: VerifySettings, place: Place) -> None:
    """Runs another rank until rank 0 has ended, which drains first: signals are its to answer."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    logger("verify_service").info("following rank 0", rank=place.rank, num_ranks=place.size)
    follow_model(
        _target(settings),
        dtype=settings.dtype,
        device=settings.device,
        num_threads=settings.threads,
        num_kv_blocks=settings.kv_blocks,
        kv_memory_share=settings.kv_memory_share,
        place=place,
    )


if __name__ == "__main__":
    leave(main())
