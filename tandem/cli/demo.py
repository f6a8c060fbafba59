"""``tandem demo``: every method on held-out questions."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tandem.cli import options
from tandem.decoding.methods import METHODS


def demo(
    limit: Annotated[int, typer.Option(help="Questions for each method.", min=1)] = 50,
    methods: Annotated[
        str | None, typer.Option(help="Which methods, with commas between; all of them if not given.")
    ] = None,
    at_once: Annotated[int, typer.Option(help="Questions asked at the same time.", min=1)] = 8,
    target: options.Target = None,
    draft: options.Draft = None,
    threads: options.Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Asks held-out questions by every method, and shows what each costs and what it gets right."""
    from tandem.cli.demonstration import demonstrate
    from tandem.evaluation.text_to_sql import held_out
    from tandem.stack import Models

    names = list(METHODS) if methods is None else [name.strip() for name in methods.split(",") if name.strip()]
    asyncio.run(demonstrate(names, held_out(limit), at_once, Models(target, draft, threads=threads), as_json))
