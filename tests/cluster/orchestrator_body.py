"""The orchestrator's own main, as a pod that has its service account's token in a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence

from kubernetes.config import incluster_config

from orchestrator.__main__ import main as serve


def main(argv: Sequence[str]) -> int:
    """``argv``: the folder with ``token`` and ``ca.crt``, then the orchestrator's flags."""
    folder, *flags = argv
    incluster_config.SERVICE_TOKEN_FILENAME = f"{folder}/token"
    incluster_config.SERVICE_CERT_FILENAME = f"{folder}/ca.crt"
    return serve(flags)
