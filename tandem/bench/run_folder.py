"""A run's folder: what was asked for lies beside what was measured, so that it can go on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tandem.bench.environment import environment
from tandem.bench.pair import Pair
from tandem.bench.plan import Plan
from tandem.errors import InvalidArgument

CONFIG_NAME = "config.json"


def open_run(folder: Path, plan: Plan, pair: Pair, address: str | None, widen: int) -> dict[str, Any]:
    """Begins a run in ``folder``, or checks that the one that lies there is this one; returns what is known of it.

    More repetitions may be asked for when a run goes on.

    Raises:
        InvalidArgument: what lies there is something else.
    """
    asked = {"plan": asdict(plan), "environment": environment(pair, address, widen)}
    config: dict[str, Any] = json.loads(json.dumps(asked))
    path = folder / CONFIG_NAME
    if path.exists():
        _require_same(folder, json.loads(path.read_text()), config)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InvalidArgument(f"{folder} holds other things and no run; name a new or empty folder with --out")
    path.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return config


def _require_same(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    pairs = [("plan", name) for name in new["plan"] if name != "repetitions"]
    pairs += [
        ("environment", name) for name in ("target_digest", "draft_digest", "dtype", "threads", "compiled", "processor")
    ]
    for part, name in pairs:
        before, now = old[part].get(name), new[part][name]
        if before != now:
            raise InvalidArgument(
                f"{folder} holds a run with another {name} ({before!r}, now {now!r}); give what it was made with to go "
                "on, or another --out to begin anew"
            )
