"""Where texts come from, as the command line names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tandem.errors import InvalidArgument, Unavailable
from tandem.models import shipped

DEFAULT_ADDRESS = "127.0.0.1:7070"


@dataclass(frozen=True, slots=True)
class Source:
    """A running stack, or models in this process."""

    address: str | None = None
    target: str | None = None
    draft: str | None = None
    dtype: str = "auto"
    api_key_file: Path | None = None
    tls_ca: str | None = None

    def __post_init__(self) -> None:
        if self.in_process and self.address is not None:
            raise InvalidArgument(
                "--address asks a running stack, whose models are chosen there; leave --target and --draft out"
            )

    @property
    def in_process(self) -> bool:
        """Whether this process decodes."""
        return self.target is not None or self.draft is not None

    @property
    def models(self) -> tuple[str, str]:
        """Target and draft, the shipped ones where not named."""
        return self.target or str(shipped("target")), self.draft or str(shipped("draft"))


def nobody_there(error: Unavailable) -> Unavailable:
    """What to say where nothing listens at the address that nobody named."""
    return Unavailable(
        f"no stack is running at {DEFAULT_ADDRESS}. Start one with `tandem up`, name another with "
        f"--address, or decode in this process with --target and --draft ({error})"
    )
