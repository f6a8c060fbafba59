"""``tandem demo``: every method on held-out questions."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from tandem.cli import options


def demo(
    limit: Annotated[int, typer.Option(help="Questions for each method.", min=1)] = 50,
    methods: Annotated[str, typer.Option(help="Which methods, with commas between, or all.")] = "all",
    at_once: Annotated[int, typer.Option(help="Questions asked at the same time.", min=1)] = 8,
    target: options.Target = None,
    draft: options.Draft = None,
    threads: options.Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Asks held-out questions by every method, and shows what each costs and what it gets right."""
    from tandem.cli.demonstration import demonstrate
    from tandem.evaluation.experiment import Experiment

    experiment = Experiment.load(
        None,
        {
            "methods": options.method_names(methods),
            "limit": limit,
            "concurrency": at_once,
            "trace": 0,
            "target": target,
            "draft": draft,
            "threads": threads,
        },
    )
    asyncio.run(demonstrate(experiment, as_json))
