"""What each process of the stack runs, and how it is known to serve."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tandem.stack.plan import Plan

Flags = dict[str, str | None]
"""Of a command line, without their dashes; a switch has no value."""

MODULES = {"draft": "draft_service", "verify": "verify_service", "orchestrator": "orchestrator"}
_UNREMARKABLE = frozenset({"timestamp", "role", "component", "logger"})


@dataclass(frozen=True, slots=True)
class Ready:
    """A process that serves."""

    pid: int
    address: str
    metrics: str = ""
    """URL of its metrics; empty where it has none."""
    http: str = ""
    """URL of the OpenAI-compatible door; empty but for orchestrators."""


class Program(Protocol):
    """One process to be kept running."""

    @property
    def role(self) -> str:
        """draft, verify, orchestrator or store."""

    @property
    def name(self) -> str:
        """The role, numbered where there are several."""

    def command(self, before: Ready | None) -> list[str]:
        """The command line; on the ports of ``before``, the process that this one replaces."""

    def look(self, pid: int) -> Ready | None:
        """Whether the process with this pid serves by now. Cheap: called many times a second."""

    def remark(self, line: str) -> str | None:
        """What a person should know of a line that the process wrote; None when nothing."""


class ServiceProgram:
    """A draft, verify or orchestrator process, which says through a file that it serves."""

    def __init__(self, role: str, name: str, flags: Flags, ready_file: Path) -> None:
        """``port`` among the flags may be 0."""
        self.role = role
        self.name = name
        self._flags = flags
        self._ready_file = ready_file

    def command(self, before: Ready | None) -> list[str]:
        """The service as a module, listening where it did before."""
        self._ready_file.unlink(missing_ok=True)
        flags = dict(self._flags)
        if before is not None:
            flags |= {"port": _port(before.address)}
            flags |= {"metrics-port": _port(before.metrics.removesuffix("/metrics"))}
            if before.http:
                flags |= {"http-port": _port(before.http)}
        flags |= {"ready-file": str(self._ready_file)}
        given = [part for name, value in flags.items() for part in (f"--{name}", value) if part is not None]
        return [sys.executable, "-m", MODULES[self.role], *given]

    def look(self, pid: int) -> Ready | None:
        """Reads the ready file, which is written whole."""
        try:
            told: dict[str, Any] = json.loads(self._ready_file.read_text())
        except FileNotFoundError:
            return None
        return Ready(told["pid"], told["address"], told["metrics"], told.get("http", ""))

    def remark(self, line: str) -> str | None:
        """A JSON log line in short, None below a warning; any other line as it is."""
        try:
            fields = json.loads(line)
            level, event = fields.pop("level"), fields.pop("event")
        except (ValueError, KeyError, AttributeError):
            return line if line.strip() else None
        if level in ("debug", "info"):
            return None
        rest = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _UNREMARKABLE)
        return f"{level}: {event} {rest}".rstrip()


def model_programs(plan: Plan, folder: Path) -> list[ServiceProgram]:
    """The verify and draft processes of a plan; their ready files go to ``folder``."""
    models = plan.models
    threads = models.threads or _fair_share(plan.counts.verifies * models.parallelism + plan.counts.drafts)
    common = {"port": "0", "dtype": models.dtype, "threads": str(threads), "log-level": _log_level(plan)}
    roles = (
        ("verify", plan.counts.verifies, "target", models.target),
        ("draft", plan.counts.drafts, "draft", models.draft),
    )
    programs = []
    for role, count, flag, model in roles:
        flags: Flags = dict(common) if model is None else {flag: model, **common}
        if models.compile:
            flags["compile"] = None
        if role == "verify" and models.parallelism > 1:
            flags["parallelism"] = str(models.parallelism)
        for index in range(count):
            name = numbered(role, index, count)
            programs.append(ServiceProgram(role, name, flags, folder / f"{name}.json"))
    return programs


def orchestrator_programs(
    plan: Plan, redis_url: str, replicas: dict[str, list[str]], folder: Path
) -> list[ServiceProgram]:
    """The orchestrator processes of a plan.

    Args:
        plan: what to start.
        redis_url: the store.
        replicas: addresses by role, ``verify`` and ``draft``.
        folder: where ready files go.
    """
    flags: Flags = {"host": plan.doors.host, "redis-url": redis_url, "log-level": _log_level(plan)}
    flags |= dict(plan.defaults)
    flags |= {role: ",".join(addresses) for role, addresses in replicas.items()}
    if plan.api_keys is not None:
        flags["api-keys"] = str(plan.api_keys)
    if plan.models.target is not None:
        flags["tokenizer"] = plan.models.target
    programs = []
    for index in range(plan.counts.orchestrators):
        name = numbered("orchestrator", index, plan.counts.orchestrators)
        port, http_port = plan.doors.of(index)
        doors: Flags = {"port": str(port), "http-port": str(http_port)}
        programs.append(ServiceProgram("orchestrator", name, flags | doors, folder / f"{name}.json"))
    return programs


def numbered(role: str, index: int, count: int) -> str:
    """The role, with its number from 1 where there are several."""
    return role if count == 1 else f"{role}-{index + 1}"


def _fair_share(num_processes: int) -> int:
    # Threads that wait spin: two processes of one a core each, on two cores, were measured ten times slower.
    num_cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, num_cores // num_processes)


def _log_level(plan: Plan) -> str:
    return "warning" if plan.log_dir is None else "info"


def _port(address: str) -> str:
    return address.rsplit(":", 1)[1].rstrip("/")
