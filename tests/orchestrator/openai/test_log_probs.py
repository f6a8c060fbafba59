"""Log-probabilities in OpenAI's shapes: of generated tokens, of what could have stood there, and of given prompts."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import grpc
import pytest

from tandem.tokenization import Tokenizer
from tests.orchestrator.conftest import Stage
from tests.orchestrator.openai.doors import EOS, PROMPT, Door, ids, open_door
from tests.support.chat_templates import CHATML
from tests.support.http import Connection, ask
from tests.support.tiny_pair import make_tokenizer
from tests.support.waiting import until

SAID = "name 🚀 age"


@pytest.fixture
async def door(stage: Stage, tokenizer: Tokenizer) -> Door:
    return await open_door(stage, [*ids(tokenizer, SAID), EOS])


def joined(events: list[Any], index: int = 0) -> dict[str, Any]:
    """A streamed choice as one, and its log-probabilities."""
    choices = [choice for event in events[:-1] for choice in event["choices"] if choice["index"] == index]
    names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    told = [choice["logprobs"] for choice in choices]
    return {
        "text": "".join(choice["text"] for choice in choices),
        "finish_reason": choices[-1]["finish_reason"],
        "logprobs": {
            name: None if told[0][name] is None else [one for each in told for one in each[name]] for name in names
        },
    }


def check_fits(choice: dict[str, Any]) -> None:
    """Every list has one for each token, and tokens and offsets spell the text."""
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == choice["text"]
    assert found["text_offset"] == [0, *itertools.accumulate(map(len, found["tokens"]))][:-1]
    assert len(found["token_logprobs"]) == len(found["tokens"])
    if found["top_logprobs"] is not None:
        assert len(found["top_logprobs"]) == len(found["tokens"])
        for token, log_prob, top in zip(found["tokens"], found["token_logprobs"], found["top_logprobs"], strict=True):
            assert (top is None) == (log_prob is None)
            assert top is None or top[token] == log_prob


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("unlikely", [False, True])
async def test_completions_tell_the_most_probable_and_always_the_chosen(
    door: Door, tokenizer: Tokenizer, stream: bool, unlikely: bool
) -> None:
    door.draft.unlikely = unlikely
    answer = await door.complete(logprobs=3, stream=stream)
    choice = joined(answer.events) if stream else answer.json["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (SAID, "stop")
    check_fits(choice)
    script = [*ids(tokenizer, SAID), EOS]
    tops = choice["logprobs"]["top_logprobs"]
    assert [len(top) for top in tops] == [4 if unlikely else 3] * len(script)
    first = 1 if unlikely else 0
    for token, top in zip(script, tops, strict=True):
        values = [-0.25 - 0.5 * at for at in range(first, first + 3)]
        assert sorted(top.values(), reverse=True) == sorted([*values, -0.25] if unlikely else values, reverse=True)
        # What completes no character, or spells what another one does, has a name of its own.
        assert all(name or token in script for name in top)


async def test_tokens_that_spell_the_same_are_told_apart(stage: Stage, tokenizer: Tokenizer) -> None:
    # Within a character no token completes anything: bytes of it, and the end token, are named by the vocabulary.
    rocket = ids(tokenizer, "🚀")
    assert len(rocket) > 1
    door = await open_door(stage, [*rocket, EOS])
    door.draft.unlikely = True
    choice = (await door.complete(logprobs=20)).json["choices"][0]
    check_fits(choice)
    for top in choice["logprobs"]["top_logprobs"]:
        assert len(top) == 21
    assert choice["logprobs"]["tokens"] == [*[""] * (len(rocket) - 1), "🚀", ""]


async def test_log_probs_of_0_tell_of_the_chosen_tokens_only(door: Door) -> None:
    choice = (await door.complete(logprobs=0)).json["choices"][0]
    check_fits(choice)
    assert choice["logprobs"]["top_logprobs"] is None
    assert door.draft.opened[-1].decoding.num_top_log_probs == 0


async def test_chat_tells_a_list_with_bytes(stage: Stage, tokenizer: Tokenizer, tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    (script,) = ids(tokenizer, "a")
    door = await open_door(stage, [script], tokenizer=str(tmp_path))
    for unlikely in (False, True):
        door.draft.unlikely = unlikely
        for stream in (False, True):
            answer = await door.chat(logprobs=True, top_logprobs=2, max_tokens=3, stream=stream)
            found = answer.events[:-1] if stream else [answer.json]
            told = [one for event in found for one in (event["choices"][0]["logprobs"] or {"content": []})["content"]]
            assert [one["token"] for one in told] == ["a"] * 3
            names = ["b", "c"] if unlikely else ["a", "b"]
            values = [-0.75, -1.25] if unlikely else [-0.25, -0.75]
            for one in told:
                assert one["top_logprobs"] == [
                    {"token": name, "logprob": value, "bytes": list(name.encode())}
                    for name, value in zip(names, values, strict=True)
                ]
        plain = (await door.chat(logprobs=True, max_tokens=2)).json["choices"][0]["logprobs"]["content"]
        assert all(one["top_logprobs"] == [] for one in plain)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("num_top", [0, 2])
async def test_an_echoed_prompt_is_scored_before_its_text(
    door: Door, tokenizer: Tokenizer, stream: bool, num_top: int
) -> None:
    for prompt in ("select 🚀 café", tokenizer.encode("select 🚀 café")):
        answer = await door.complete(prompt=prompt, logprobs=num_top, echo=True, max_tokens=4, stream=stream)
        choice = joined(answer.events) if stream else answer.json["choices"][0]
        given = tokenizer.encode("select 🚀 café")
        assert choice["text"].startswith("select 🚀 café")
        assert choice["finish_reason"] == "length"
        check_fits(choice)
        found = choice["logprobs"]
        assert len(found["tokens"]) == len(given) + 4
        expected = [-0.5 - 0.25 * (at % 5) for at in range(len(given) - 1)]
        assert found["token_logprobs"] == [None, *expected, *[-0.25] * 4]
        assert door.verify.scored[-1].num_top_log_probs == num_top
        if num_top:
            assert found["top_logprobs"][0] is None
            assert all(top for top in found["top_logprobs"][1:])
        if stream:
            assert "".join(answer.events[0]["choices"][0]["logprobs"]["tokens"]) == "select 🚀 café"


async def test_each_prompt_is_scored_once_whatever_is_generated_from_it(door: Door, tokenizer: Tokenizer) -> None:
    found = (await door.complete(prompt=["name", "age 🚀"], n=3, seed=5, logprobs=1, echo=True, max_tokens=2)).json
    assert len(door.verify.scored) == 2
    assert [choice["seed"] for choice in found["choices"]] == [5, 6, 7, 5, 6, 7]
    for choice, prompt in zip(found["choices"], ["name"] * 3 + ["age 🚀"] * 3, strict=True):
        assert choice["text"].startswith(prompt)
        check_fits(choice)
    assert found["usage"]["completion_tokens"] == 12


async def test_a_prompt_is_scored_by_the_target_that_goes_on_from_it(stage: Stage) -> None:
    replicas = [await stage.verify(weights_digest=digest) for digest in ("a", "b")]
    url = (await stage.orchestrator(replicas)).service.ready_fields()["http"]
    body = {"prompt": PROMPT, "max_tokens": 400, "stream": True, "speculative": False}
    replicas[0].round_seconds = replicas[1].round_seconds = 0.02
    busy = await Connection.post(f"{url}/v1/completions", body)
    await busy.event()
    asked = {"stream": False, "max_tokens": 2, "echo": True, "logprobs": 1}
    for number in range(1, 4):
        assert (await ask(f"{url}/v1/completions", body | asked)).status == 200
        ends = [[run.decoding.max_position for run in replica.opened] for replica in replicas]
        num_sessions = [each.count(len(PROMPT) + 2) for each in ends]
        assert sum(num_sessions) == number
        assert [len(replica.scored) for replica in replicas] == num_sessions
    await busy.leave()


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_is_generated_where_nothing_is_asked_for(door: Door, tokenizer: Tokenizer, stream: bool) -> None:
    prompts = ["select 🚀", "name"]
    given = [tokenizer.encode(prompt) for prompt in prompts]
    fields: dict[str, Any] = {"prompt": prompts, "n": 2, "echo": True, "max_tokens": 0, "seed": 9, "stream": stream}
    if stream:
        fields["stream_options"] = {"include_usage": True}
    answer = await door.complete(logprobs=1, **fields)
    if stream:
        *events, last, done = answer.events
        assert done == "[DONE]"
        usage = last["usage"]
        choices = [joined([*events, done], index) for index in range(4)]
    else:
        usage, choices = answer.json["usage"], answer.json["choices"]
        assert answer.json["id"].startswith("cmpl-")
        assert [choice["seed"] for choice in choices] == [9, 10, 9, 10]
    assert [choice["text"] for choice in choices] == ["select 🚀"] * 2 + ["name"] * 2
    for choice in choices:
        assert choice["finish_reason"] == "length"
        check_fits(choice)
    num_tokens = sum(map(len, given))
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (num_tokens, 0, num_tokens)
    assert usage["method"] == "none"
    plain = (await door.complete(prompt="select 🚀", echo=True, max_tokens=0)).json
    assert plain["choices"][0]["text"] == "select 🚀"
    assert plain["choices"][0]["logprobs"] is None
    assert plain["usage"]["prompt_tokens"] == len(given[0])
    assert not door.draft.opened
    assert door.served.metric("commits_total", answer="ok") == 0


async def test_a_prompt_that_ends_within_a_character_is_completed_by_its_text(
    stage: Stage, tokenizer: Tokenizer
) -> None:
    rocket = ids(tokenizer, "🚀")
    door = await open_door(stage, [*rocket[2:], EOS])
    prompt = [PROMPT[0], *rocket[:2]]
    for fields in ({"logprobs": 1}, {"logprobs": 0}, {}):
        choice = (await door.complete(prompt=prompt, echo=True, max_tokens=5, **fields)).json["choices"][0]
        assert choice["text"] == tokenizer.decode([PROMPT[0]]) + "🚀"
        if fields:
            check_fits(choice)
        alone = (await door.complete(prompt=prompt, echo=True, max_tokens=0, **fields)).json["choices"][0]
        assert alone["text"] == tokenizer.decode(prompt)
        if fields:
            check_fits(alone)


async def test_more_than_one_answer_can_hold_is_refused_before_anything_is_scored(stage: Stage) -> None:
    verify = await stage.verify(max_positions=2000)
    url = (await stage.orchestrator([verify])).service.ready_fields()["http"]
    body = {"prompt": [5] * 1000, "n": 128, "echo": True, "logprobs": 20, "speculative": False}
    for max_tokens in (0, 1):
        answer = await ask(f"{url}/v1/completions", body | {"max_tokens": max_tokens})
        assert (answer.status, answer.error["param"]) == (400, "logprobs")
        assert "of 128000 tokens" in answer.error["message"]
    assert not verify.scored
    assert not verify.opened


async def test_failures_of_scoring_are_errors_of_the_request(door: Door) -> None:
    fields: dict[str, Any] = {"echo": True, "logprobs": 1}
    for code, status in (
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.INTERNAL, 500),
    ):
        door.verify.score_refusal = (code, "no")
        for max_tokens in (0, 4):
            for stream in (False, True):
                answer = await door.complete(max_tokens=max_tokens, stream=stream, **fields)
                assert answer.status == status, answer
                assert answer.error["message"]
    assert not door.draft.opened


@pytest.mark.parametrize("max_tokens", [0, 4])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_takes_the_scoring_with_it(door: Door, max_tokens: int, stream: bool) -> None:
    door.verify.score_seconds = 30.0
    connection = await Connection.post(
        f"{door.url}/v1/completions",
        {"prompt": PROMPT, "echo": True, "logprobs": 1, "max_tokens": max_tokens, "stream": stream},
    )
    await until(lambda: len(door.verify.scored) == 1)
    await connection.leave()
    await until(lambda: door.verify.scores_left == 1)
    await asyncio.sleep(0.05)
    assert not door.draft.opened
    assert not door.verify.opened


async def test_a_stop_string_takes_what_it_cuts_off_from_the_log_probabilities_too(
    stage: Stage, tokenizer: Tokenizer
) -> None:
    door = await open_door(stage, [*ids(tokenizer, "select name from people"), EOS])
    for stream in (False, True):
        answer = await door.complete(max_tokens=50, stop="me f", logprobs=2, echo=True, stream=stream)
        choice = joined(answer.events) if stream else answer.json["choices"][0]
        assert choice["text"] == tokenizer.decode(PROMPT) + "select na"
        check_fits(choice)
