"""What ``tandem demo`` does: every method on held-out questions, through the real stack."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tandem.cli import rendering
from tandem.cli.evaluation import Shown, table_of
from tandem.cli.generate import token_text_of
from tandem.client import AsyncClient
from tandem.evaluation.evaluation import evaluate, served
from tandem.evaluation.experiment import Experiment
from tandem.evaluation.figures import Figures
from tandem.evaluation.records import Record
from tandem.evaluation.runner import Work
from tandem.evaluation.summary import Run
from tandem.evaluation.tasks.text_to_sql import TextToSql
from tandem.generation import Options

SHOWN_METHOD = "mtad"


async def demonstrate(experiment: Experiment, as_json: bool) -> None:
    """Starts a stack, asks it every question by every method, and prints what came of it.

    Raises:
        TandemError: the stack could not start or serve.
    """
    task = TextToSql()
    work = Work(task, task.samples(experiment.limit))
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder, Shown(experiment, [work], console) as shown:
        async with served(experiment, shown.say) as client:
            token_text = token_text_of(experiment.target)
            run = await evaluate(experiment, [work], client, Path(folder), token_text, (), shown.advance)
            shown.stop()
            summary = run.summary()
            if as_json:
                print(json.dumps([_plain(figures) for figures in summary.figures]))
                return
            out = Console()
            out.print(table_of(summary, task.name))
            label = next((label for label in experiment.labelled() if label == SHOWN_METHOD), summary.figures[-1].label)
            await _show_one(client, experiment, work, run, label, out)


def _plain(figures: Figures) -> dict[str, object]:
    accuracy = figures.accuracy
    return {
        "method": figures.label,
        "num_questions": figures.num_samples,
        "execution_accuracy": accuracy.value if accuracy else None,
        "output_perplexity": figures.output_perplexity.value,
        "block_efficiency": figures.block_efficiency.value,
        "acceptance_rate": figures.acceptance_rate.value if figures.acceptance_rate else None,
        "tokens_per_second": figures.tokens_per_second.value,
        "time_to_first_token_seconds": figures.time_to_first_token_seconds.p50
        if figures.time_to_first_token_seconds
        else None,
    }


async def _show_one(
    client: AsyncClient, experiment: Experiment, work: Work, run: Run, label: str, out: Console
) -> None:
    """Shows a question, answered rightly if any was, on which drafting was neither always right nor always wrong."""

    def interest(record: Record) -> tuple[bool, float]:
        return not record.scores["execution_accuracy"], abs(record.turns[0].usage["draft_acceptance_rate"] - 0.75)

    record = min((r for r in run.records if r.configuration == label and r.turns), key=interest)
    options: Options = experiment.labelled()[label].options()
    options["seed"], options["max_tokens"], options["trace"] = record.seed, work.task.max_tokens, True
    sample = next(sample for sample in work.samples if sample.id == record.sample)
    traced = await client.generate(sample.prompt, **options)
    token_text = token_text_of(experiment.target)
    out.print(f"\n[bold]One of them by {label}[/bold]: {escape(sample.question)}", highlight=False)
    out.print(rendering.legend())
    for shown in traced.rounds:
        out.print(rendering.render_round(shown, token_text), highlight=False, soft_wrap=True)
    is_right = work.task.score(sample, [traced.text])["execution_accuracy"]
    verdict = "the same result as" if is_right else "another result than"
    out.print(
        f"[bold]Answer[/bold]: {escape(traced.text.strip())}\ngives {verdict}: {escape(sample.reference)}",
        highlight=False,
    )
