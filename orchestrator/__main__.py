"""``python -m orchestrator``."""

from __future__ import annotations

import sys

from orchestrator.open_files import allow_many
from orchestrator.service import Orchestrator
from orchestrator.settings import OrchestratorSettings
from tandem.rpc.server import Listen, run, serve
from tandem.telemetry import configure_logging, new_registry


async def main() -> None:
    """Serves until told to stop."""
    settings = OrchestratorSettings.load(sys.argv[1:])
    configure_logging("orchestrator", settings.log_level)
    allow_many()
    registry = new_registry()
    service = Orchestrator(settings, registry)
    listen = Listen(
        settings.host, settings.port, settings.metrics_port, settings.ready_file, settings.open_public_tls()
    )
    await serve(service, listen, registry)


if __name__ == "__main__":
    sys.exit(run(main))
