"""What was run, for the head of the report. No date: a report of the same run is the same file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tandem.evaluation.figures import Figures
from tandem.evaluation.report.wording import count
from tandem.evaluation.summary import Run, Summary

Facts = list[tuple[str, str]]
"""Names and values."""

_DIALS = {"draft_length": "γ", "beam_width": "b", "threshold": "τ"}
_WARPING = {"temperature": "temperature", "top_k": "top‑k", "top_p": "top‑p"}  # hyphens that do not break


def facts_of(run: Run, summary: Summary) -> Facts:
    """Of all tasks together."""
    environment, experiment = run.environment, run.experiment
    configurations = [row.configuration for row in summary.figures]
    last = experiment.seed + experiment.repetitions - 1
    seeds = f"seed {experiment.seed}" if experiment.repetitions == 1 else f"seeds {experiment.seed} to {last}"
    facts = [
        ("target", _model(environment)),
        ("draft", str(environment.get("draft") or "as served")),
        ("methods", ", ".join(dict.fromkeys(str(each["method"]) for each in configurations))),
        ("drafting", _settings(_DIALS, configurations) or "none"),
        ("warping", _settings(_WARPING, configurations)),
        ("baseline", summary.baseline),
        ("asked", f"{count(experiment.repetitions, 'repetition')}, {seeds}, {experiment.concurrency} at a time"),
    ]
    machine = [str(environment[name]) for name in ("machine",) if environment.get(name)]
    if environment.get("processors"):
        machine.append(count(int(environment["processors"]), "processor"))
    if machine:
        facts.append(("client machine" if experiment.address else "machine", ", ".join(machine)))
    versions = [f"{name.capitalize()} {environment[name]}" for name in ("tandem", "python") if environment.get(name)]
    if versions:
        facts.append(("versions", ", ".join(versions)))
    return facts


def asked(rows: Sequence[Figures], repetitions: int) -> str:
    """How much of a task was asked, as far as the run has come."""
    answers = {row.num_samples for row in rows}
    most = max(answers)
    text = f"{count(len(rows), 'configuration')}, {count(most, 'answer')} each"
    if repetitions > 1 and most % repetitions == 0:
        text += f": {count(most // repetitions, 'sample')} × {repetitions} repetitions"
    if len(answers) > 1:
        text += f"; the run is not finished, some have {min(answers)}"
    return text


def _model(environment: dict[str, object]) -> str:
    """Its name without the folders above, its number type, and enough of its digest to tell it from others."""
    name = "/".join(str(environment.get("target", "unknown")).rstrip("/").split("/")[-2:])
    digest = str(environment.get("target_digest") or "")[:12]
    return ", ".join(filter(None, (name, str(environment.get("target_dtype") or ""), digest and f"digest {digest}…")))


def _settings(names: dict[str, str], configurations: Iterable[dict[str, object]]) -> str:
    parts = []
    rows = list(configurations)
    for name, sign in names.items():
        values = dict.fromkeys(f"{value:g}" for row in rows if isinstance(value := row.get(name), int | float))
        if values:
            parts.append(f"{sign}\u00a0=\u00a0{', '.join(values)}")
    return " · ".join(parts)
