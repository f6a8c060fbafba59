"""Where a request's threshold comes from."""

from __future__ import annotations

import math

import pytest

from orchestrator.settings import OrchestratorSettings
from tandem.decoding.methods import METHODS
from tandem.decoding.values import Speculation
from tandem.generation import Options
from tandem.requests import Limits, decoding_for

LIMITS = Limits(vocab_size=8, max_positions=100, eos_token_ids=())
OWN = {"mtad": 0.5, "mmtad": 0.5, "typical": 0.09, "bild": math.exp(-2)}


def threshold(options: Options, defaults: Speculation | None = None) -> float:
    return decoding_for(options, 3, LIMITS, defaults or Speculation()).speculation.threshold


def server(*flags: str) -> Speculation:
    return OrchestratorSettings.load(["--verify=127.0.0.1:1", *flags], {}).defaults


@pytest.mark.parametrize("name", OWN)
def test_each_method_has_its_own_threshold_where_none_is_given(name: str) -> None:
    assert threshold({"method": name}) == threshold({"method": name, "threshold": None}) == OWN[name]
    assert METHODS[name].default_threshold == OWN[name]


@pytest.mark.parametrize("name", METHODS)
def test_a_threshold_that_is_given_counts_whatever_the_defaults(name: str) -> None:
    for defaults in (Speculation(), server("--threshold=0.3"), server("--method=typical")):
        assert threshold({"method": name, "threshold": 0.77}, defaults) == 0.77


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), OWN),
        (("--threshold=0.3",), OWN | {"mtad": 0.3, "mmtad": 0.3}),
        (("--threshold=0.3", "--method=block"), OWN | {"mtad": 0.3, "mmtad": 0.3}),
        (("--method=typical",), OWN),
        (("--method=typical", "--threshold=0.2"), OWN | {"typical": 0.2}),
        (("--method=bild", "--threshold=0.2"), OWN | {"bild": 0.2}),
    ],
)
def test_a_servers_threshold_is_for_its_own_method_and_its_like(
    flags: tuple[str, ...], expected: dict[str, float]
) -> None:
    defaults = server(*flags)
    assert {name: threshold({"method": name}, defaults) for name in OWN} == expected
    if defaults.method in expected:
        assert threshold({}, defaults) == expected[defaults.method]
