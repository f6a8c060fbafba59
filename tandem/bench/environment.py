"""What runs, and on what."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tandem.bench.pair import Pair
from tandem.engine.checkpoint import open_checkpoint


def environment(pair: Pair, address: str | None, widen: int) -> dict[str, Any]:
    """As far as it can be known here; a stack at an address may run on other machines."""
    target, draft = open_checkpoint(pair.target), open_checkpoint(pair.draft)
    return {
        "target": Path(pair.target).name if widen else pair.target,
        "target_digest": target.weights_digest,
        "target_parameters": target.num_parameters,
        "widened_to": widen or None,
        "draft": pair.draft,
        "draft_digest": draft.weights_digest,
        "draft_parameters": draft.num_parameters,
        "dtype": pair.dtype,
        "threads": pair.threads,
        "compiled": pair.compile,
        "address": address,
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("tandem", "torch", "transformers")}
        | {"python": platform.python_version()},
    }


def processor(information: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as far as the system tells it."""
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
