"""``tandem serve ROLE``: one service in this process."""

from __future__ import annotations

import enum
import runpy
import sys
from typing import Annotated

import typer


class Role(enum.StrEnum):
    """The services."""

    DRAFT = "draft"
    VERIFY = "verify"
    ORCHESTRATOR = "orchestrator"


MODULES = {Role.DRAFT: "draft_service", Role.VERIFY: "verify_service", Role.ORCHESTRATOR: "orchestrator"}


def serve(
    role: Annotated[Role, typer.Argument(help="Which service.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Its own flags; --help after the role lists them.")
    ] = None,
) -> None:
    """Runs one service in this process, as `python -m draft_service` and so on do."""
    module = MODULES[role]
    sys.argv = [module, *(arguments or ())]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
