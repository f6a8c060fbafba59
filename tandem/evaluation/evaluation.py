"""A whole evaluation: an experiment in, a folder with its answers, figures and report out."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tandem.client import AsyncClient
from tandem.client.access import key_of
from tandem.errors import InvalidArgument
from tandem.evaluation import records as stored
from tandem.evaluation.experiment import Experiment
from tandem.evaluation.respondent import Served
from tandem.evaluation.runner import Done, Runner, Work
from tandem.evaluation.scorer import Scorer
from tandem.evaluation.showing import TokenText
from tandem.evaluation.summary import CONFIG_NAME, Run, by_task_and_configuration
from tandem.rpc.codec import Description
from tandem.stack import Doors, Models, Plan, Stack

GROWING = ("limit", "repetitions", "trace", "concurrency", "address", "api_key_file", "tls_ca")
"""What may differ when a run goes on: more may be asked for, and asked elsewhere."""


def client_of(experiment: Experiment) -> AsyncClient:
    """A client of the running Tandem that an experiment names.

    Raises:
        InvalidArgument: its key or its CA cannot be read.
    """
    assert experiment.address is not None
    key_file = experiment.api_key_file
    return AsyncClient(
        experiment.address, api_key=key_of(Path(key_file) if key_file else None), tls_ca=experiment.tls_ca
    )


@asynccontextmanager
async def served(experiment: Experiment, say: Callable[[str], None]) -> AsyncIterator[AsyncClient]:
    """A client of the Tandem that the experiment names, or of one started for it and stopped at the end.

    Raises:
        TandemError: it could not be started.
    """
    if experiment.address is not None:
        async with client_of(experiment) as client:
            yield client
        return
    models = Models(experiment.target, experiment.draft, experiment.dtype, experiment.threads)
    plan = Plan(models=models, doors=Doors(port=0, http_port=0))
    async with Stack(plan, say) as stack, AsyncClient(stack.grpc) as client:
        yield client


def open_run(folder: Path, experiment: Experiment, works: Sequence[Work], environment: dict[str, Any]) -> Done:
    """Begins a run in ``folder``, or finds what is done of the one that lies there.

    Raises:
        InvalidArgument: what lies there is another experiment, or was answered by another target.
    """
    path = folder / CONFIG_NAME
    config = {
        "experiment": experiment.model_dump(mode="json"),
        "tasks": {work.task.name: {"primary": work.task.primary, "samples": len(work.samples)} for work in works},
        "environment": environment,
    }
    done: Done = set()
    if path.exists():
        _require_same(folder, json.loads(path.read_text()), config)
        stored.repair(folder)
        if (folder / stored.FILE_NAME).exists():
            done = {(r.task, r.configuration, r.repetition, r.sample) for r in stored.read(folder)}
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InvalidArgument(f"{folder} holds other things and no run; name a new or empty folder with --out")
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return done


def _require_same(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new["experiment"].items():
        if name not in GROWING and old["experiment"].get(name) != value:
            raise InvalidArgument(
                f"{folder} holds a run with another {name} ({old['experiment'].get(name)!r}, now {value!r}); give what "
                "it was made with to go on, or another --out to begin anew"
            )
    digests = [config["environment"].get("target_digest") for config in (old, new)]
    if digests[0] != digests[1]:
        raise InvalidArgument(
            f"{folder} holds answers of target {digests[0]}, and {digests[1]} is serving now; name another --out"
        )


def environment_of(experiment: Experiment, description: Description) -> dict[str, Any]:
    """What answers, as far as it can be known."""
    return {
        "target": description.model,
        "target_digest": description.weights_digest,
        "target_dtype": description.dtype,
        "draft": experiment.draft or ("" if experiment.address else "shipped"),
        "tandem": version("tandem"),
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "machine": platform.machine(),
    }


async def evaluate(
    experiment: Experiment,
    works: Sequence[Work],
    client: AsyncClient,
    folder: Path,
    token_text: TokenText,
    scorers: Sequence[Scorer],
    advance: Callable[[str, str, int], None],
) -> Run:
    """Asks whatever is missing in ``folder`` and returns the whole run.

    Raises:
        TandemError: the folder holds something else, or nobody answers any more; what was recorded stays.
    """
    environment = environment_of(experiment, await client.describe())
    done = open_run(folder, experiment, works, environment)
    respondent = Served(client, experiment.concurrency)
    runner = Runner(experiment, works, respondent, folder, token_text, scorers)
    await runner.run(done, advance)
    run = Run.load(folder)
    _export(run, works)
    return run


def _export(run: Run, works: Sequence[Work]) -> None:
    """Hands every configuration's first answers to the tasks that write them for other tools."""
    records = by_task_and_configuration(run.records)
    for work in works:
        for label in run.experiment.labelled():
            answers = {
                record.sample: [turn.text for turn in record.turns]
                for record in records.get((work.task.name, label), ())
                if not record.repetition and not record.error
            }
            work.task.export(run.folder, label, answers)
