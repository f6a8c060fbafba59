"""Where a request's threshold comes from, and what its penalties and bias become."""

from __future__ import annotations

import math

import pytest

from orchestrator.settings import OrchestratorSettings
from tandem.decoding.methods import METHODS
from tandem.decoding.values import Sampling, Speculation
from tandem.errors import InvalidArgument
from tandem.generation import Options
from tandem.requests import Limits, decoding_for

LIMITS = Limits(vocab_size=8, max_positions=100, eos_token_ids=())
OWN = {"mtad": 0.5, "mmtad": 0.5, "typical": 0.09, "bild": math.exp(-2)}


def threshold(options: Options, defaults: Speculation | None = None) -> float:
    return decoding_for(options, 3, LIMITS, defaults or Speculation()).speculation.threshold


def server(*flags: str) -> Speculation:
    return OrchestratorSettings.load(["--verify=127.0.0.1:1", *flags], {}).defaults


def test_penalties_and_bias_are_checked_by_name_and_told_where_the_prompt_ends() -> None:
    options: Options = {"presence_penalty": -2, "frequency_penalty": 2.0, "logit_bias": {7: -100, 0: 1.5}}
    made = decoding_for(options, 3, LIMITS, Speculation())
    assert (made.sampling.presence_penalty, made.sampling.frequency_penalty) == (-2, 2)
    assert made.sampling.logit_bias == ((7, -100), (0, 1.5))
    assert made.prompt_length == 3
    neither = decoding_for({"presence_penalty": None, "logit_bias": None}, 3, LIMITS, Speculation()).sampling
    assert (neither.presence_penalty, neither.frequency_penalty, neither.logit_bias) == (0, 0, ())
    bad: list[tuple[Options, str]] = [
        ({"presence_penalty": 2.1}, "presence_penalty is 2.1"),
        ({"frequency_penalty": math.nan}, "frequency_penalty is nan"),
        ({"logit_bias": {8: 1.0}}, "logit_bias names token 8"),
        ({"logit_bias": {-1: 1.0}}, "logit_bias names token -1"),
        ({"logit_bias": {1: -100.1}}, "logit_bias of token 1 is -100.1"),
    ]
    for asked, message in bad:
        with pytest.raises(InvalidArgument, match=message):
            decoding_for(asked, 3, LIMITS, Speculation())
    with pytest.raises(InvalidArgument, match="twice"):
        Sampling(logit_bias=((1, 1.0), (1, 2.0)))
    with pytest.raises(InvalidArgument, match="1025 entries"):
        Sampling(logit_bias=tuple((token, 1.0) for token in range(1025)))


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
