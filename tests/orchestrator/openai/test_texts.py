"""What is answered: shapes, choices, figures, and text that never leaks or splits, whole and streamed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tandem.tokenization import Tokenizer
from tests.orchestrator.conftest import SCRIPT, Stage
from tests.orchestrator.openai.doors import EOS, Door, ids, open_door
from tests.support.http import ask

WHOLE = "select name from people where age > 30; naïve café 🚀 東京 👩‍🚀, the end"


@pytest.fixture
async def door(stage: Stage) -> Door:
    return await open_door(stage)


async def test_a_completion_has_openais_shape_and_tandems_figures(door: Door, tokenizer: Tokenizer) -> None:
    answer = await door.complete(seed=7, speculative={"method": "mmtad", "num_speculative_tokens": 3, "beam_width": 2})
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found = answer.json
    assert (found["object"], found["model"]) == ("text_completion", "scripted-verify")
    assert found["id"].startswith("cmpl-")
    assert found["system_fingerprint"].startswith("fp_")
    assert found["choices"] == [
        {
            "index": 0,
            "text": tokenizer.decode(SCRIPT[:20]),
            "logprobs": None,
            "finish_reason": "length",
            "seed": 7,
        }
    ]
    usage = found["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 20, 23)
    assert (usage["method"], usage["seed"]) == ("mmtad", 7)
    assert usage["num_spec_steps"] == sum(usage["acceptance_histogram"])
    assert usage["num_draft_tokens"] == 3 * usage["num_spec_steps"]
    assert usage["mean_acceptance_length"] == 1 + usage["num_accepted_draft_tokens"] / usage["num_spec_steps"]
    assert usage["draft_acceptance_rate"] == usage["num_accepted_draft_tokens"] / usage["num_draft_tokens"]
    assert usage["output_perplexity"] == pytest.approx(1.2840254)
    assert "verify_joules" not in usage
    drafted = found["metrics"]["speculative_decoding"]
    assert drafted["num_spec_tokens"] == 3
    assert len(drafted["acceptance_histogram"]) == 4
    assert drafted["mean_acceptance_length"] == usage["mean_acceptance_length"]
    decoding = door.draft.opened[0].decoding
    assert (decoding.speculation.method, decoding.speculation.draft_length) == ("mmtad", 3)
    assert decoding.speculation.beam_width == 2


async def test_every_parameter_reaches_the_decoding(door: Door) -> None:
    await door.complete(
        temperature=0.25,
        top_k=3,
        top_p=0.5,
        min_p=0.125,
        presence_penalty=1,
        frequency_penalty=-0.5,
        logit_bias={"7": -100, "0": 2.5},
        ignore_eos=True,
        cache_salt="naïve",
        seed=5,
        speculative={"accept_threshold": 0.75, "num_speculative_tokens": 5, "beam_width": 6, "method": "mtad"},
    )
    decoding = door.draft.opened[0].decoding
    sampling, speculation = decoding.sampling, decoding.speculation
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed) == (
        0.25,
        3,
        0.5,
        0.125,
        5,
    )
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (1.0, -0.5)
    assert sampling.logit_bias == ((7, -100.0), (0, 2.5))
    assert (speculation.threshold, speculation.draft_length, speculation.beam_width) == (0.75, 5, 6)
    assert decoding.ignore_eos
    assert decoding.cache_salt == "naïve".encode()
    assert decoding.max_position == 3 + 20


async def test_speculation_can_be_turned_off(door: Door) -> None:
    found = (await door.complete(speculative=False)).json
    assert (found["usage"]["method"], found["usage"]["num_draft_tokens"]) == ("autoregressive", 0)
    assert "metrics" not in found
    assert not door.draft.opened


async def test_choices_come_in_order_with_seeds_that_follow(door: Door) -> None:
    found = (await door.complete(prompt=[[5, 6, 7], [8, 9]], n=3, seed=40)).json
    assert [choice["index"] for choice in found["choices"]] == list(range(6))
    assert [choice["seed"] for choice in found["choices"]] == [40, 41, 42, 40, 41, 42]
    usage = found["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (5, 6 * 20)
    assert usage["num_spec_steps"] == sum(usage["acceptance_histogram"])
    assert len(door.draft.opened) == 6
    assert "metrics" not in found


async def test_without_a_seed_prompts_that_are_alike_have_seeds_of_their_own(door: Door) -> None:
    found = (await door.complete(prompt=["name", "name"])).json
    first, second = (choice["seed"] for choice in found["choices"])
    assert first != second
    assert max(first, second) < 1 << 53


async def test_the_last_seed_is_followed_by_the_first(door: Door) -> None:
    found = (await door.complete(n=2, seed=(1 << 64) - 1)).json
    assert [choice["seed"] for choice in found["choices"]] == [(1 << 64) - 1, 0]


async def test_echo_puts_the_prompt_before_the_text(door: Door, tokenizer: Tokenizer) -> None:
    script = tokenizer.decode(SCRIPT[:20])
    found = (await door.complete(prompt=["a b", "name"], echo=True)).json
    assert found["choices"][0]["text"].startswith("a b")
    assert found["choices"][1]["text"].startswith("name")
    by_ids = (await door.complete(echo=True)).json
    assert by_ids["choices"][0]["text"] == tokenizer.decode([5, 6, 7]) + script
    events = (await door.complete(echo=True, stream=True)).events
    assert events[0]["choices"][0]["text"] == tokenizer.decode([5, 6, 7])
    assert "".join(event["choices"][0]["text"] for event in events[:-1]) == by_ids["choices"][0]["text"]


async def test_a_stream_is_what_is_answered_whole(door: Door) -> None:
    whole = (await door.complete(seed=3, n=2)).json
    events = (await door.complete(seed=3, n=2, stream=True, stream_options={"include_usage": True})).events
    assert events.pop() == "[DONE]"
    last = events.pop()
    assert last["choices"] == []
    timed = ("time_to_first_token_seconds", "time_per_output_token_seconds")
    assert {k: v for k, v in last["usage"].items() if k not in timed} == {
        k: v for k, v in whole["usage"].items() if k not in timed
    }
    assert len({event["id"] for event in events}) == 1
    assert all(event["usage"] is None and event["object"] == "text_completion" for event in events)
    for index in (0, 1):
        choices = [choice for event in events for choice in event["choices"] if choice["index"] == index]
        assert "".join(choice["text"] for choice in choices) == whole["choices"][index]["text"]
        assert [choice["finish_reason"] for choice in choices][-1] == "length"
        assert {choice["finish_reason"] for choice in choices[:-1]} == {None}
        assert {choice["seed"] for choice in choices} == {3 + index}
    without = (await door.complete(seed=3, stream=True)).events
    assert all(event["choices"] for event in without[:-1])


@pytest.mark.parametrize("drafted", [True, False])
async def test_no_event_splits_a_character_or_shows_what_a_stop_string_takes(
    stage: Stage, tokenizer: Tokenizer, drafted: bool
) -> None:
    door = await open_door(stage, [*ids(tokenizer, WHOLE), EOS], drafted=drafted)
    for stop in (None, "name from", "e f", "é 🚀 東", "👩‍🚀,", "the end", "🚀"):
        text = WHOLE if stop is None else WHOLE[: WHOLE.index(stop)]
        events = (await door.complete(max_tokens=200, stop=stop, stream=True, logprobs=0)).events
        choices = [event["choices"][0] for event in events[:-1]]
        assert "".join(choice["text"] for choice in choices) == text
        assert all("\N{REPLACEMENT CHARACTER}" not in choice["text"] for choice in choices)
        assert choices[-1]["finish_reason"] == "stop"
        assert choices[-1].get("stop_reason") == stop
        shown = 0
        for choice in choices:  # log-probabilities tell no more than the text does
            shown += len(choice["text"])
            assert sum(len(token) for token in choice["logprobs"]["tokens"]) <= shown
        assert "".join(token for choice in choices for token in choice["logprobs"]["tokens"]) == text


async def test_log_probabilities_are_of_the_chosen_tokens(stage: Stage, tokenizer: Tokenizer) -> None:
    script = [*ids(tokenizer, "name 🚀 age"), EOS]
    door = await open_door(stage, script)
    choice = (await door.complete(logprobs=0)).json["choices"][0]
    found = choice["logprobs"]
    assert choice["text"] == "name 🚀 age"
    assert len(found["tokens"]) == len(found["token_logprobs"]) == len(script)
    assert set(found["token_logprobs"]) == {-0.25}
    assert found["top_logprobs"] is None
    assert "".join(found["tokens"]) == choice["text"]
    offsets = [0, *itertools.accumulate(len(token) for token in found["tokens"])]
    assert found["text_offset"] == offsets[:-1]


async def test_a_character_cut_off_by_the_length_is_told_with_its_last_token(
    stage: Stage, tokenizer: Tokenizer
) -> None:
    door = await open_door(stage, ids(tokenizer, "a🚀"))
    for stream in (False, True):
        answer = await door.complete(max_tokens=2, logprobs=0, stream=stream)
        found = answer.events[:-1] if stream else [answer.json]
        choices = [event["choices"][0] for event in found]
        text = "".join(choice["text"] for choice in choices)
        assert text.startswith("a")
        assert text.endswith("\N{REPLACEMENT CHARACTER}")
        assert "".join(token for choice in choices for token in choice["logprobs"]["tokens"]) == text


async def test_joules_are_told_where_they_are_measured(stage: Stage) -> None:
    door = await open_door(stage)
    door.draft.joules = (0.5, 2.0)
    usage = (await door.complete(n=2)).json["usage"]
    rounds = usage["num_spec_steps"]
    assert (usage["draft_joules"], usage["verify_joules"]) == (0.5 * rounds, 2.0 * rounds)
    assert usage["joules_per_token"] == pytest.approx(2.5 * rounds / 40)


async def test_the_model_is_listed(stage: Stage) -> None:
    verify = await stage.verify(model="/somewhere/on/this/machine/llama/")
    url = (await stage.orchestrator([verify])).service.ready_fields()["http"]
    (model,) = (await ask(f"{url}/v1/models")).json["data"]
    assert (model["id"], model["object"], model["max_model_len"]) == ("llama", "model", 512)
    assert (await ask(f"{url}/v1/models/llama")).json == model
    named = (await stage.orchestrator([verify], model_name="org/ours")).service.ready_fields()["http"]
    assert (await ask(f"{named}/v1/models/org/ours")).json["id"] == "org/ours"
    assert (await ask(f"{named}/v1/models/llama")).error["code"] == "model_not_found"


async def test_a_fingerprint_changes_with_the_draft_model(stage: Stage) -> None:
    async def fingerprint(weights: str) -> Any:
        verify, draft = await stage.verify(), await stage.draft(weights_digest=weights)
        url = (await stage.orchestrator([verify], [draft])).service.ready_fields()["http"]
        answer = await ask(f"{url}/v1/completions", {"prompt": [5], "max_tokens": 1})
        return answer.json["system_fingerprint"]

    first = await fingerprint("a")
    assert first == await fingerprint("a")
    assert first != await fingerprint("b")


async def test_request_ids_are_given_back_or_made(door: Door) -> None:
    assert (await door.complete({"X-Request-Id": "mine-1"})).headers["x-request-id"] == "mine-1"
    assert (await door.complete({"X-Request-Id": "mine-2"}, n=0)).headers["x-request-id"] == "mine-2"
    made = (await door.complete({"X-Request-Id": "not an id"})).headers["x-request-id"]
    assert made.startswith("req-")
    assert (await door.complete(stream=True)).headers["x-request-id"] not in ("", made)
