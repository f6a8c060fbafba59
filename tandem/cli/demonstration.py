"""What ``tandem demo`` does: every method on held-out questions, through the real stack."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tandem.cli import rendering
from tandem.cli.generate import token_text_of
from tandem.client import AsyncClient
from tandem.decoding.methods import method as method_of
from tandem.errors import InvalidArgument
from tandem.evaluation.report import MethodReport
from tandem.evaluation.text_to_sql import Example, execution_match
from tandem.generation import Generation, Options
from tandem.stack import Doors, Models, Plan, Stack

SHOWN_METHOD = "mtad"
MAX_TOKENS = 128


async def demonstrate(
    methods: Sequence[str], examples: Sequence[Example], at_once: int, models: Models, as_json: bool
) -> None:
    """Starts a stack of its own, asks it every question by every method, and prints what came of it.

    Raises:
        TandemError: the stack could not start or serve; InvalidArgument for an unknown method.
    """
    if not methods:
        raise InvalidArgument("no method is named: expected some, with commas between")
    for name in methods:
        method_of(name)
    console = Console(stderr=True)
    plan = Plan(models=models, doors=Doors(port=0, http_port=0))
    with console.status("starting the stack: a store, a verify, a draft and an orchestrator process"):
        stack = Stack(plan, lambda line: console.print(line, style="yellow", highlight=False, markup=False))
    async with stack, AsyncClient(stack.grpc) as client:
        reports, answers = await _ask_all(client, methods, examples, at_once, console)
        if as_json:
            print(json.dumps([dataclasses.asdict(report) for report in reports]))
            return
        out = Console()
        out.print(_table(reports, at_once))
        method = SHOWN_METHOD if SHOWN_METHOD in answers else methods[-1]
        await _show_one(client, method, examples, answers[method], models.target, out)


def _options(method: str, index: int) -> Options:
    return {"method": method, "seed": index, "temperature": 1.0, "top_k": 10, "top_p": 0.9, "max_tokens": MAX_TOKENS}


async def _ask_all(
    client: AsyncClient, methods: Sequence[str], examples: Sequence[Example], at_once: int, console: Console
) -> tuple[list[MethodReport], dict[str, list[Generation]]]:
    columns = TextColumn("{task.description:<15}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    reports, answers = [], {}
    with Progress(*columns, console=console) as progress:
        for method in methods:
            await client.generate(examples[0].prompt, **_options(method, 0))  # warms the way up, and is not timed
            task = progress.add_task(method, total=len(examples))
            began = time.monotonic()
            answers[method] = await _ask(client, method, examples, at_once, progress, task)
            reports.append(MethodReport.of(method, examples, answers[method], time.monotonic() - began))
    return reports, answers


async def _ask(
    client: AsyncClient, method: str, examples: Sequence[Example], at_once: int, progress: Progress, task: TaskID
) -> list[Generation]:
    places = asyncio.Semaphore(at_once)

    async def ask(index: int) -> Generation:
        async with places:
            answer = await client.generate(examples[index].prompt, **_options(method, index))
            progress.advance(task)
            return answer

    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(ask(index)) for index in range(len(examples))]
    return [task.result() for task in asked]


def _table(reports: Sequence[MethodReport], at_once: int) -> Table:
    table = Table(
        title=f"{reports[0].num_questions} held-out text-to-SQL questions, {at_once} at once, "
        "temperature 1, top-k 10, top-p 0.9, fixed seeds",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )
    table.add_column("method", no_wrap=True)
    for heading in (
        "execution\naccuracy",
        "output\nperplexity",
        "block\nefficiency",
        "acceptance\nrate",
        "tokens/s",
        "TTFT\nms",
    ):
        table.add_column(heading, justify="right")
    for report in reports:
        table.add_row(
            report.method,
            f"{report.execution_accuracy:.1%}",
            f"{report.output_perplexity:.3f}",
            f"{report.block_efficiency:.2f}",
            "–" if report.acceptance_rate is None else f"{report.acceptance_rate:.1%}",
            f"{report.tokens_per_second:.0f}",
            f"{report.time_to_first_token_seconds * 1e3:.0f}",
        )
    return table


async def _show_one(
    client: AsyncClient,
    method: str,
    examples: Sequence[Example],
    answers: Sequence[Generation],
    target: str | None,
    out: Console,
) -> None:
    """Shows a question, answered rightly if any was, on which drafting was neither always right nor always wrong."""

    def interest(index: int) -> tuple[bool, float]:
        right = execution_match(examples[index], answers[index].text)
        return not right, abs(answers[index].usage.draft_acceptance_rate - 0.75)

    index = min(range(len(answers)), key=interest)
    example = examples[index]
    traced = await client.generate(example.prompt, **(_options(method, index) | Options(trace=True)))
    token_text = token_text_of(target)
    out.print(f"\n[bold]One of them by {method}[/bold]: {escape(example.question)}", highlight=False)
    out.print(rendering.legend())
    for shown in traced.rounds:
        out.print(rendering.render_round(shown, token_text), highlight=False, soft_wrap=True)
    verdict = "the same result as" if execution_match(example, traced.text) else "another result than"
    out.print(
        f"[bold]Answer[/bold]: {escape(traced.text.strip())}\ngives {verdict}: {escape(example.gold_sql)}",
        highlight=False,
    )
