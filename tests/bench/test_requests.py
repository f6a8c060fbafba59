from __future__ import annotations

import pytest

from tandem.bench.plan import Plan
from tandem.bench.requests import WARM_UP, Requests
from tandem.errors import InvalidArgument
from tandem.models import shipped
from tandem.tokenization import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_pretrained(str(shipped("target")))


def test_no_prompt_is_asked_twice_and_a_plan_repeats_its_requests(tokenizer: Tokenizer) -> None:
    plan = Plan(concurrency=(1, 4), repetitions=3, requests=4)
    requests = Requests(plan, tokenizer, 2)
    asked = [
        requests.of(repetition, level, number)
        for repetition in (WARM_UP, 0, 1, 2)
        for level in (1, 4)
        for number in (0, 1)
    ]
    prompts = [ask.prompt for asks in asked for ask in asks]
    assert len(set(prompts)) == len(prompts)
    assert Requests(plan, tokenizer, 2).of(1, 4, 1) == requests.of(1, 4, 1)
    assert {ask.num_tokens for ask in requests.of(0, 1, 0)} == {64}


def test_lengths_are_drawn_from_a_range_or_are_those_of_the_answers(tokenizer: Tokenizer) -> None:
    drawn = Requests(Plan(max_tokens="8-12", requests=40), tokenizer, 1).of(0, 1, 0)
    assert {ask.num_tokens for ask in drawn} == {8, 9, 10, 11, 12}
    own = [ask.num_tokens for ask in Requests(Plan(max_tokens="answer", requests=40), tokenizer, 1).of(0, 1, 0)]
    assert min(own) > 4
    assert len(set(own)) > 5


def test_a_turn_is_whole_concurrencies() -> None:
    plan = Plan(requests=5)
    assert [plan.num_requests(level) for level in (1, 4, 16)] == [5, 8, 16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ("fast",)}, "method 'fast' is not known; expected autoregressive"),
        ({"places": ("there",)}, "place 'there' is not known; expected services, local"),
        ({"concurrency": (0, 1)}, "concurrency is"),
        ({"concurrency": (1, 1)}, "each once"),
        ({"methods": ()}, "methods is empty"),
        ({"repetitions": 0}, "repetitions is 0; expected 1 or more"),
        ({"max_tokens": "64-32"}, "max-tokens is '64-32'; expected a number"),
        ({"max_tokens": "many"}, "max-tokens is 'many'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Plan(**options)  # type: ignore[arg-type]
