"""``bench.json``: a run as one document. `SCHEMA` is raised whenever a field changes its meaning or goes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tandem.bench.figures import Measured

SCHEMA = 1
FILE_NAME = "bench.json"


def document(config: Mapping[str, Any], measured: Measured, ours: Sequence[str]) -> dict[str, Any]:
    """All figures of a run, with what was run."""
    return {
        "schema": SCHEMA,
        **config,
        "figures": [asdict(each) for each in measured.figures()],
        "ratios": [asdict(each) for each in measured.ratios(ours)],
        "rounds": [asdict(each) for each in measured.rounds()],
        "agreement": [asdict(each) for each in measured.agreements()],
        "resident_bytes": resident(measured),
    }


def resident(measured: Measured) -> dict[str, list[int]]:
    """Resident memory by role, after each group in turn; processes of one role are added up."""
    found: dict[str, list[int]] = {}
    for number, group in enumerate(measured.groups):
        for role, size in group.resident_bytes:
            sizes = found.setdefault(role, [])
            sizes.extend([0] * (number + 1 - len(sizes)))
            sizes[number] += size
    return found


def write(folder: Path, content: Mapping[str, Any]) -> Path:
    """Writes the document, whole or not at all."""
    path = folder / FILE_NAME
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path
