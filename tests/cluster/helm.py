"""Helm, as an operator calls it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

CHART = Path(__file__).resolve().parents[2] / "helm" / "tandem"


class Helm:
    """One release of the chart, in a namespace of its own."""

    def __init__(self, executable: str, kubeconfig: Path, namespace: str, folder: Path, values: dict[str, Any]) -> None:
        self.release = "tandem"
        self.namespace = namespace
        self._executable = executable
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._values = values

    async def install(self, **values: Any) -> None:
        """Installs the release and waits until all is ready. ``values`` are further top-level ones."""
        await self.apply("install", "--wait", "--timeout", "60s", **values)

    async def upgrade(self, **values: Any) -> None:
        """Upgrades it and waits until the rollout is over."""
        await self.apply("upgrade", "--wait", "--timeout", "60s", **values)

    async def rollback(self, revision: int) -> None:
        await self._run("rollback", self.release, str(revision), "--wait", "--timeout", "60s")

    async def uninstall(self) -> None:
        await self._run("uninstall", self.release)

    async def history(self) -> list[tuple[int, str]]:
        """Revisions and what became of each."""
        said = json.loads(await self._run("history", self.release, "--output", "json"))
        return [(int(one["revision"]), one["status"]) for one in said]

    async def apply(self, verb: str, *flags: str, **values: Any) -> None:
        """Installs or upgrades, with no wait unless ``flags`` say so."""
        merged = {**self._values, **values}
        for name, value in self._values.items():
            if isinstance(value, dict) and isinstance(values.get(name), dict):
                merged[name] = {**value, **values[name]}
        file = self._folder / "values.json"
        file.write_text(json.dumps(merged))
        await self._run(verb, self.release, str(CHART), "--values", str(file), *flags)

    async def _run(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            self._executable,
            *arguments,
            "--namespace",
            self.namespace,
            env={**os.environ, "KUBECONFIG": str(self._kubeconfig), "HELM_CACHE_HOME": str(self._folder / "helm")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, complaints = await process.communicate()
        assert process.returncode == 0, f"helm {' '.join(arguments)}: {complaints.decode()}"
        return told.decode()
