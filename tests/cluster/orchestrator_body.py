"""The orchestrator's own main, as a pod that has its service account's token in a folder of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kubernetes.config import incluster_config

from orchestrator.__main__ import main as serve
from orchestrator.discovery import cluster
from tandem.rpc.server import run


def main(argv: Sequence[str]) -> int:
    """``argv``: the folder with ``token``, ``ca.crt`` and ``namespace``, then the orchestrator's flags."""
    folder, *sys.argv[1:] = argv
    cluster.SERVICE_ACCOUNT = Path(folder)
    incluster_config.SERVICE_TOKEN_FILENAME = f"{folder}/token"
    incluster_config.SERVICE_CERT_FILENAME = f"{folder}/ca.crt"
    return run(serve)
