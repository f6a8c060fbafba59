"""The program of a pod that has its service account's token, in a folder of its own: orchestrator or annotator."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kubernetes.config import incluster_config

from orchestrator import annotator
from orchestrator.__main__ import main as serve
from orchestrator.discovery import cluster
from tandem.rpc.server import run


def main(argv: Sequence[str]) -> int:
    """``argv``: which program, the folder with ``token``, ``ca.crt`` and ``namespace``, then the program's flags."""
    program, folder, *flags = argv
    cluster.SERVICE_ACCOUNT = Path(folder)
    incluster_config.SERVICE_TOKEN_FILENAME = f"{folder}/token"
    incluster_config.SERVICE_CERT_FILENAME = f"{folder}/ca.crt"
    if program == "annotator":
        return annotator.main(flags)
    sys.argv[1:] = flags
    return run(serve)
