"""vLLM's object and our own flags say the same, once."""

from __future__ import annotations

import json

import pytest

from tandem.cli.speculative_config import EXAMPLE, Drafting, drafting
from tandem.errors import InvalidArgument


def test_every_key_has_its_flag() -> None:
    config = {"method": "mmtad", "model": "some/draft", "num_speculative_tokens": 6, "beam_width": 2}
    flags = {"method": "mmtad", "draft-length": "6", "beam-width": "2"}
    assert drafting(json.dumps(config), {}) == Drafting("some/draft", flags)
    assert drafting(json.dumps({"accept_threshold": 0.25}), {}) == Drafting(None, {"threshold": "0.25"})
    assert drafting(EXAMPLE, {}) == Drafting("draft-model", {"method": "mtad", "draft-length": "4"})


def test_flags_fill_in_what_the_object_leaves_out() -> None:
    given = {"draft": "some/draft", "method": None, "threshold": 0.5}
    assert drafting('{"method": "mtad", "model": null}', given) == Drafting(
        "some/draft", {"method": "mtad", "threshold": "0.5"}
    )
    assert drafting(None, given) == Drafting("some/draft", {"threshold": "0.5"})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"gamma": 4}', "has no gamma; its keys are method, model, num_speculative_tokens"),
        ('{"num_speculative_tokens": "4"}', 'num_speculative_tokens is "4"; expected int'),
        ('{"num_speculative_tokens": true}', "expected int"),
        ('{"accept_threshold": "half"}', "expected float"),
        ('{"method": 1}', "expected str"),
        ('{"model": "x"}', "--draft and the model of --speculative-config are given"),
    ],
)
def test_what_it_cannot_mean_is_refused_by_name(config: str, named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        drafting(config, {"draft": "y"})
