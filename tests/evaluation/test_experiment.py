"""What is to be evaluated: read, combined, labelled and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tandem.errors import InvalidArgument
from tandem.evaluation.experiment import Experiment


def load(**given: Any) -> Experiment:
    return Experiment.load(None, given)


def test_every_method_is_combined_with_those_dials_that_it_reads() -> None:
    experiment = load(methods=["autoregressive", "speculative", "mtad"], draft_length=[2, 4], threshold=[0.1, 0.5])
    assert list(experiment.labelled()) == [
        "autoregressive",
        "speculative γ=2",
        "speculative γ=4",
        "mtad γ=2 τ=0.1",
        "mtad γ=2 τ=0.5",
        "mtad γ=4 τ=0.1",
        "mtad γ=4 τ=0.5",
    ]
    options = experiment.labelled()["mtad γ=2 τ=0.5"].options()
    assert (options["draft_length"], options["beam_width"], options["threshold"]) == (2, 4, 0.5)
    assert experiment.labelled()["autoregressive"].options()["draft_length"] is None


def test_plain_decoding_and_mtad_are_run_where_nothing_is_named() -> None:
    assert list(load().labelled()) == ["autoregressive", "mtad"]


def test_a_method_alone_is_labelled_by_its_name() -> None:
    assert list(load(methods="mtad", threshold=0.3).labelled()) == ["mtad"]


def test_configurations_add_to_the_combinations_and_none_is_there_twice() -> None:
    given = {"method": "mtad", "draft_length": 4, "beam_width": 4, "threshold": 0.5}
    experiment = load(methods=["mtad"], configurations=[given, given | {"temperature": 0.5}])
    assert list(experiment.labelled()) == ["mtad T=1", "mtad T=0.5"]


@pytest.mark.parametrize(
    ("methods", "baseline", "expected"),
    [
        (["mtad", "autoregressive"], "", "autoregressive"),
        (["mtad", "block"], "", "mtad"),
        (["mtad", "block"], "block", "block"),
    ],
)
def test_the_baseline_is_plain_decoding_where_there_is_some(methods: list[str], baseline: str, expected: str) -> None:
    assert load(methods=methods, baseline=baseline).baseline_label == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"methods": ["magic"]}, "magic"),
        ({"methods": ["mtad"], "threshold": [1.5]}, "threshold is 1.5"),
        ({"methods": ["mtad"], "draft_length": [0]}, "draft_length is 0"),
        ({"methods": ["mtad"], "draft_length": [2.5]}, "draft_length"),
        ({"methods": ["mtad"], "top_p": [0]}, "top_p is 0"),
        ({"methods": ["mtad"], "limit": 0}, "limit"),
        ({"methods": ["mtad"], "concurency": 2}, "concurency"),
        ({"methods": ["mtad"], "baseline": "block"}, "baseline 'block' is none"),
        ({"methods": ["mtad"], "address": "a:1", "target": "x"}, "leave target"),
        ({"configurations": [{"method": "speculative", "threshold": 0.5}]}, "has no threshold"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        load(**given)


def test_a_file_is_read_and_what_is_given_beside_it_wins(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text('methods = ["mtad"]\nlimit = 7\n\n[[configurations]]\nmethod = "block"\ndraft_length = 6\n')
    experiment = Experiment.load(path, {"limit": 3, "seed": None})
    assert (experiment.limit, experiment.seed) == (3, 0)
    assert list(experiment.labelled()) == ["mtad", "block"]


def test_a_runs_own_config_is_an_experiment(tmp_path: Path) -> None:
    experiment = load(methods=["mtad", "block"], threshold=[0.2, 0.4], limit=5)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"experiment": experiment.model_dump(mode="json"), "environment": {}}))
    assert Experiment.load(path, {}) == experiment


@pytest.mark.parametrize(("content", "said"), [("methods = [", "no TOML"), ("metods = ['mtad']", "metods")])
def test_a_file_that_is_no_experiment_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(content)
    with pytest.raises(InvalidArgument, match=said):
        Experiment.load(path, {})
    with pytest.raises(InvalidArgument, match="cannot be read"):
        Experiment.load(tmp_path / "none.toml", {})
