"""What is asked, in which order, and what is kept: through a respondent that answers from a script."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tandem.decoding.stats import RunningUsage
from tandem.decoding.values import Outcome, RoundTrace
from tandem.errors import InvalidArgument, TandemError, Unavailable
from tandem.evaluation import records as stored
from tandem.evaluation.evaluation import open_run
from tandem.evaluation.experiment import Experiment
from tandem.evaluation.records import Record
from tandem.evaluation.respondent import Answer, Ask
from tandem.evaluation.runner import Runner, Work
from tandem.evaluation.summary import Run
from tandem.evaluation.task import Sample
from tandem.generation import Generation, Round
from tests.evaluation.made import Given

SAMPLES = [Sample(f"s{index}", f"prompt {index}", reference=f"right {index}") for index in range(10)]
OUTCOME = Outcome((3, 4), 1, 2, (-0.5, -0.25), trace=RoundTrace((3, 9), (-1, 0), (-0.1, -0.2), (-0.5, -9.0)))


def generation(ask: Ask, text: str) -> Generation:
    usage = RunningUsage(str(ask.options["method"]), 3)
    usage.add(OUTCOME)
    rounds = (Round.of(3, OUTCOME),) if ask.options["trace"] else ()
    return Generation(text, (3, 4), (1, 2, 3), "stop", "", usage.usage(0.1, 0.2), usage.method, 0, rounds)


class Script:
    """Answers rightly, unless told otherwise, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Ask], Answer] | None = None) -> None:
        self.calls: list[list[Ask]] = []
        self._answer = answer or (lambda ask: generation(ask, ask.prompt.replace("prompt", "right")))

    @property
    def asks(self) -> list[Ask]:
        return [ask for call in self.calls for ask in call]

    async def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        self.calls.append(list(asks))
        return [self._answer(ask) for ask in asks]


def run(folder: Path, script: Script, task: Given | None = None, scorers: Sequence[Any] = (), **given: Any) -> Run:
    experiment = Experiment.load(None, {"methods": ["autoregressive", "mtad"], "concurrency": 1, **given})
    task = task or Given(SAMPLES)
    work = Work(task, task.samples(experiment.limit))
    done = open_run(folder, experiment, [work], {"target_digest": "d"})
    runner = Runner(experiment, [work], script, folder, lambda token: f"<{token}>", scorers)
    told: list[tuple[str, str, int]] = []
    asyncio.run(runner.run(done, lambda *progress: told.append(progress)))
    found = Run.load(folder)
    assert sum(count for _, _, count in told) == found.num_answers
    return found


def key(record: Record) -> tuple[str, int, str]:
    return record.configuration, record.repetition, record.sample


def test_every_sample_of_every_configuration_is_answered_once_and_scored(tmp_path: Path) -> None:
    found = run(tmp_path, Script(), repetitions=2)
    assert Counter(map(key, found.records)) == Counter(
        (label, repetition, sample.id)
        for label in ("autoregressive", "mtad")
        for repetition in range(2)
        for sample in SAMPLES
    )
    assert all(record.scores == {"exact": 1.0} for record in found.records)
    assert found.num_missing == 0


def test_configurations_take_turns_block_by_block_and_the_first_changes(tmp_path: Path) -> None:
    found = run(tmp_path, Script())  # a block is four samples at a concurrency of one
    order = list(dict.fromkeys((record.block, record.configuration) for record in found.records))
    assert order == [
        (0, "autoregressive"),
        (0, "mtad"),
        (1, "mtad"),
        (1, "autoregressive"),
        (2, "autoregressive"),
        (2, "mtad"),
    ]
    assert all(record.block_seconds > 0 for record in found.records)


def test_seeds_are_the_samples_own_alike_for_all_configurations(tmp_path: Path) -> None:
    seeds: dict[str, set[int]] = {}
    for record in run(tmp_path, Script(), repetitions=3, seed=5).records:
        seeds.setdefault(record.configuration, set()).add(record.seed)
    assert seeds["mtad"] == seeds["autoregressive"]
    assert len(seeds["mtad"]) == 30


def test_requests_carry_the_configuration_and_the_tasks_own_bounds(tmp_path: Path) -> None:
    script = Script()
    run(tmp_path, script, methods=["mtad"], draft_length=6, temperature=0.5, trace=3)
    for ask in script.asks:
        assert (ask.options["method"], ask.options["draft_length"], ask.options["temperature"]) == ("mtad", 6, 0.5)
        assert (ask.options["max_tokens"], ask.options["stop"]) == (7, ("###",))
    assert sum(bool(ask.options["trace"]) for ask in script.asks[1:]) == 3  # the first one warms up


def test_traced_rounds_are_kept_as_texts(tmp_path: Path) -> None:
    found = run(tmp_path, Script(), trace=1, repetitions=2)
    traced = [record for record in found.records if record.turns[0].rounds]
    assert [(record.sample, record.repetition) for record in traced] == [("s0", 0)] * 2
    (kept,) = traced[0].turns[0].rounds
    assert kept.candidates == (("<3>", "<9>"),)
    assert (kept.num_accepted, kept.extra, kept.target_log_prob) == (1, "<4>", -9.0)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    left = 7

    def fail_later(ask: Ask) -> Answer:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unavailable("nobody is there")
        return generation(ask, "x")

    with pytest.raises(Unavailable):
        run(tmp_path, Script(fail_later))
    kept = [key(record) for record in stored.read(tmp_path)]
    assert len(kept) == 4  # one whole block; the block that broke is asked again
    script = Script()
    found = run(tmp_path, script)
    assert [key(record) for record in found.records][:4] == kept
    assert len(set(map(key, found.records))) == len(found.records) == 20
    assert len(script.asks) == 16 + 2  # each configuration is warmed up once more
    again = Script()
    assert len(run(tmp_path, again).records) == 20
    assert again.asks == []


def test_a_finished_run_may_be_made_longer_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path, Script(), limit=3)
    assert len(run(tmp_path, Script(), limit=6, repetitions=2).records) == 24
    with pytest.raises(InvalidArgument, match="another draft_length"):
        run(tmp_path, Script(), draft_length=8)


def test_other_weights_do_not_go_on_with_a_run(tmp_path: Path) -> None:
    found = run(tmp_path, Script(), limit=3)
    work = Work(Given(SAMPLES), SAMPLES[:3])
    with pytest.raises(InvalidArgument, match="target d, and other is serving"):
        open_run(tmp_path, found.experiment, [work], {"target_digest": "other"})


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidArgument, match="holds other things"):
        run(tmp_path, Script())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_answer_that_fails_counts_as_wrong_and_the_rest_goes_on(tmp_path: Path) -> None:
    def answer(ask: Ask) -> Answer:
        error: TandemError = InvalidArgument("the prompt is too long")
        return error if ask.prompt == "prompt 4" else generation(ask, "x")

    found = run(tmp_path, Script(answer), methods=["mtad"])
    (failed,) = (record for record in found.records if record.error)
    assert (failed.sample, failed.error, failed.turns) == ("s4", "the prompt is too long", ())
    assert failed.scores == {"exact": 0.0}
    (figures,) = found.summary().figures
    assert (figures.num_samples, figures.num_failed, figures.num_tokens) == (10, 1, 18)


class TwoTurns(Given):
    """Asks back once."""

    def next_prompt(self, sample: Sample, answers: Sequence[str]) -> str | None:
        return f"{sample.prompt} / {answers[0]} / again" if len(answers) == 1 else None

    def export(self, folder: Path, name: str, answers: Any) -> None:
        (folder / f"{name}.txt").write_text(str(sorted(answers)))


def test_the_second_turn_knows_the_first(tmp_path: Path) -> None:
    script = Script(lambda ask: generation(ask, "b" if "again" in ask.prompt else "a"))
    found = run(tmp_path, script, TwoTurns(SAMPLES[:1]), methods=["mtad"])
    (record,) = found.records
    assert [turn.text for turn in record.turns] == ["a", "b"]
    assert script.asks[-1].prompt == "prompt 0 / a / again"
    assert found.summary().figures[0].num_tokens == 4


def test_scorers_add_to_the_tasks_own_scores(tmp_path: Path) -> None:
    def length(sample: Sample, answers: Sequence[str]) -> dict[str, float]:
        return {"length": float(len(answers[0]))}

    found = run(tmp_path, Script(), scorers=[length], limit=1)
    assert found.records[0].scores == {"exact": 1.0, "length": 7.0}
