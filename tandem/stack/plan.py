"""What to start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tandem.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Models:
    """Which models, and how they compute."""

    target: str | None = None
    """A folder or a Hugging Face id; the shipped one when None."""
    draft: str | None = None
    dtype: str = "auto"
    threads: int | None = None
    """Of each model process; None shares the machine's cores out among them."""
    parallelism: int = 1
    """Ranks that run each target together."""
    compile: bool = False
    """Whether both models run as machine code, made at the first start."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many processes of each role, at least one."""

    drafts: int = 1
    verifies: int = 1
    orchestrators: int = 1

    def __post_init__(self) -> None:
        for name in ("drafts", "verifies", "orchestrators"):
            if not 1 <= getattr(self, name) <= 64:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; expected 1 to 64")


@dataclass(frozen=True, slots=True)
class Doors:
    """Where orchestrators listen. Several take consecutive ports; port 0 picks free ones."""

    host: str = "127.0.0.1"
    port: int = 7070
    http_port: int = 8080

    def __post_init__(self) -> None:
        for name in ("port", "http_port"):
            if not 0 <= getattr(self, name) < 65536:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; expected 0 (a free one) to 65535")

    def of(self, index: int) -> tuple[int, int]:
        """gRPC and HTTP port of the orchestrator with this index."""
        return self.port and self.port + index, self.http_port and self.http_port + index


@dataclass(frozen=True, slots=True)
class Plan:
    """A stack as it is to be started."""

    models: Models = field(default_factory=Models)
    counts: Counts = field(default_factory=Counts)
    doors: Doors = field(default_factory=Doors)
    defaults: Mapping[str, str] = field(default_factory=dict)
    """Decoding defaults as the orchestrator's flags: ``{"method": "mmtad", "draft-length": "6"}``."""
    api_keys: Path | None = None
    """File of the keys that the orchestrators ask for; None: they ask nobody."""
    redis_url: str | None = None
    """A store that is there already; None has the stack start one of its own."""
    ready_file: Path | None = None
    """File that tells what serves where, as JSON."""
    log_dir: Path | None = None
    """Folder that gets a complete log of each process."""
