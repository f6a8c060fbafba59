"""Every parameter is honoured or refused by name, in OpenAI's error object, before anything starts."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from orchestrator.openai.chat_body import ChatCompletionRequest
from orchestrator.openai.completion_body import CompletionRequest
from orchestrator.openai.failures import BadRequest
from orchestrator.openai.parsing import MAX_BODY_BYTES, parse
from tandem.tokenization import Tokenizer
from tests.orchestrator.conftest import Stage
from tests.orchestrator.openai.doors import Door, open_door
from tests.support.http import ask

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def door(stage: Stage) -> Door:
    return await open_door(stage)


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"temprature": 0.5}, "temprature", "did you mean temperature?"),
    ({"gamma": 4}, "gamma", "unknown parameter"),
    ({"speculative": {"gamma": 4}}, "speculative.gamma", "unknown parameter"),
    ({"speculative": True}, "speculative", "expected false"),
    ({"speculative": "mtad"}, "speculative", "not a JSON object"),
    ({"speculative": {"num_speculative_tokens": 0}}, "speculative.num_speculative_tokens", "1"),
    ({"speculative": {"num_speculative_tokens": 33}}, "speculative.num_speculative_tokens", "32"),
    ({"speculative": {"beam_width": 17}}, "speculative.beam_width", "16"),
    ({"speculative": {"accept_threshold": 1.0}}, "speculative.accept_threshold", "less than 1"),
    ({"speculative": {"method": "x" * 65}}, "speculative.method", "64"),
    ({"prompt": []}, "prompt", "expected text"),
    ({"prompt": ""}, "prompt", "empty"),
    ({"prompt": ["a", ""]}, "prompt", "number 1 is empty"),
    ({"prompt": [1, "a"]}, "prompt", "neither text nor"),
    ({"prompt": [[1], "a", [[2]]]}, "prompt", "number 2"),
    ({"prompt": [1.5]}, "prompt", "neither text nor"),
    ({"prompt": {"a": 1}}, "prompt", "expected text"),
    ({"prompt": ["a"] * 129}, "prompt", "128"),
    ({"prompt": ["a"] * 65, "n": 2}, "n", "128"),
    ({"n": 0}, "n", "1"),
    ({"n": 10**9}, "n", "128"),
    ({"best_of": 2}, "best_of", "leave it out"),
    ({"n": 2, "best_of": 1}, "best_of", "leave it out"),
    ({"max_tokens": 0}, "max_tokens", "without echo"),
    ({"max_tokens": -1, "echo": True}, "max_tokens", "0"),
    ({"max_tokens": "5"}, "max_tokens", "integer"),
    ({"max_tokens": 2.5}, "max_tokens", "integer"),
    ({"temperature": -1}, "temperature", "0"),
    ({"temperature": 11}, "temperature", "10"),
    ({"temperature": "1"}, "temperature", "number"),
    ({"top_p": 0}, "top_p", "greater than 0"),
    ({"top_k": -1}, "top_k", "0"),
    ({"min_p": 1.5}, "min_p", "1"),
    ({"seed": -1}, "seed", "0"),
    ({"seed": 1 << 64}, "seed", "18446744073709551616"),
    ({"stop": 3}, "stop", "array"),
    ({"stop": ["a", 3]}, "stop.1", "string"),
    ({"stream": "yes"}, "stream", "boolean"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "without stream"),
    ({"stream": True, "stream_options": {"chunk": 1}}, "stream_options.chunk", "unknown"),
    ({"logprobs": -1}, "logprobs", "0"),
    ({"logprobs": 21}, "logprobs", "20"),
    ({"logprobs": True}, "logprobs", "integer"),
    ({"suffix": "end"}, "suffix", "leave it out"),
    ({"presence_penalty": 2.5}, "presence_penalty", "less than or equal to 2"),
    ({"frequency_penalty": -2.5}, "frequency_penalty", "greater than or equal to -2"),
    ({"frequency_penalty": "1"}, "frequency_penalty", "number"),
    ({"repetition_penalty": 1.1}, "repetition_penalty", "leave it out"),
    ({"logit_bias": [5]}, "logit_bias", "not a JSON object"),
    ({"logit_bias": {"five": 1}}, "logit_bias", 'the key "five"'),
    ({"logit_bias": {"05": 1}}, "logit_bias", 'the key "05"'),
    ({"logit_bias": {"-5": 1}}, "logit_bias", 'the key "-5"'),
    ({"logit_bias": {"5": 101}}, "logit_bias", "of token 5 is 101"),
    ({"logit_bias": {"5": None}}, "logit_bias", "of token 5 is null"),
    ({"logit_bias": {"5": True}}, "logit_bias", "of token 5 is true"),
    ({"logit_bias": {str(token): 1 for token in range(1025)}}, "logit_bias", "1025 entries"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "json_schema is given with"),
    ({"response_format": {"type": "text", "json_schema": {"name": "x"}}}, "response_format", "json_schema is given"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name", "missing"),
    ({"response_format": "json"}, "response_format", "not a JSON object"),
    ({"structured_outputs": {}}, "structured_outputs", "0 constraints"),
    ({"structured_outputs": {"regex": "a", "grammar": "b"}}, "structured_outputs", "2 constraints"),
    ({"structured_outputs": {"ebnf": "a"}}, "structured_outputs.ebnf", "unknown"),
    ({"structured_outputs": {"json": 3}}, "structured_outputs.json", "neither"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice", "at least 1"),
    ({"grammar": ""}, "grammar", "at least 1"),
    ({"grammar": "start: nobody"}, "grammar", "nobody"),
    ({"grammar": 'start: "a"', "response_format": {"type": "json_object"}}, "grammar", "response_format and grammar"),
    ({"messages": MESSAGES}, "messages", "unknown"),
    ({"cache_salt": ""}, "cache_salt", "at least 1"),
    ({"cache_salt": 5}, "cache_salt", "string"),
    ({"cache_salt": "x" * 65}, "cache_salt", "64"),
    ({"cache_salt": "ï" * 33}, "cache_salt", "66 bytes"),
]

BAD_CHATS: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": "hi"}, "messages", "array"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "assistant"),
    ({"messages": [{"role": "user"}]}, "messages.0.content", "missing"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content", "string"),
    ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages.0.name", "not served"),
    ({"messages": [{"role": "user", "content": "x", "mood": "glad"}]}, "messages.0.mood", "unknown"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages.0.content",
        "image_url",
    ),
    ({"chat_template": "{{ messages }}"}, "chat_template", "the model's own template"),
    ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs", "leave it out"),
    ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens", "differ"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "20"),
    ({"logprobs": True, "top_logprobs": -1}, "top_logprobs", "0"),
    ({"top_logprobs": 2}, "top_logprobs", "without logprobs"),
    ({"logprobs": False, "top_logprobs": 2}, "top_logprobs", "without logprobs"),
    ({"max_tokens": 0}, "max_tokens", "1"),
    ({"logprobs": 0}, "logprobs", "boolean"),
    ({"tools": [{"type": "function"}]}, "tools", "leave it out"),
    ({"tool_choice": "required"}, "tool_choice", "leave it out"),
    ({"functions": [{}]}, "functions", "leave it out"),
    ({"modalities": ["audio"]}, "modalities", "leave it out"),
    ({"reasoning_effort": "high"}, "reasoning_effort", "leave it out"),
    ({"store": True}, "store", "leave it out"),
    ({"prompt": "x"}, "prompt", "unknown"),
]


async def test_what_is_not_served_is_refused_by_name(door: Door) -> None:
    for fields, param, expected in BAD:
        answer = await door.complete(**fields)
        assert answer.status == 400, (fields, answer)
        assert (answer.error["type"], answer.error["param"]) == ("invalid_request_error", param), (fields, answer)
        assert param in answer.error["message"], answer.error
        assert expected in answer.error["message"], answer.error
    for fields, param, expected in BAD_CHATS:
        answer = await door.chat(**fields)
        assert answer.status == 400, (fields, answer)
        assert answer.error["param"] == param, (fields, answer)
        assert expected in answer.error["message"], answer.error
    assert not door.draft.opened
    assert not door.verify.opened


@pytest.mark.parametrize(
    ("fields", "param", "expected"),
    [
        ({"prompt": [320]}, "prompt", "prompt token 0 is 320"),
        ({"prompt": [-1]}, "prompt", "prompt token 0 is -1"),
        ({"prompt": [5] * 512}, "prompt", "prompt has 512 tokens"),
        ({"prompt": [[5], [5] * 512]}, "prompt", "prompt has 512 tokens"),
        ({"max_tokens": 506}, "max_tokens", "max_tokens is 506"),
        ({"max_tokens": 2**70}, "max_tokens", "max_tokens is"),
        ({"stop": [""]}, "stop", "stop string"),
        ({"stop": ["x"] * 17}, "stop", "17 stop strings"),
        ({"logit_bias": {"320": 1}}, "logit_bias", "token 320"),
        ({"logit_bias": {"9999999999": 1}}, "logit_bias", "token 9999999999"),
        ({"speculative": {"method": "telepathy"}}, "speculative.method", "mtad"),
        ({"max_tokens": 400_000, "logprobs": 20}, "logprobs", "at most 2097152"),
        ({"max_tokens": 0, "echo": True, "speculative": {"method": "telepathy"}}, "speculative.method", "mtad"),
        ({"max_tokens": 0, "echo": True, "prompt": [320]}, "prompt", "prompt token 0 is 320"),
        ({"max_tokens": 0, "echo": True, "prompt": [[5], [5] * 513]}, "prompt", "the text has 513 tokens"),
        ({"max_tokens": 0, "echo": True, "logprobs": 1, "prompt": [[5], [5] * 513]}, "prompt", "513 tokens"),
    ],
)
async def test_what_the_models_cannot_take_is_refused(
    door: Door, fields: dict[str, Any], param: str, expected: str
) -> None:
    answer = await door.complete(**fields)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_value", param)
    assert expected in answer.error["message"]
    assert not door.draft.opened


async def test_neutral_values_are_accepted(door: Door) -> None:
    answer = await door.complete(
        presence_penalty=0,
        frequency_penalty=0.0,
        repetition_penalty=1.0,
        logit_bias={},
        response_format={"type": "text"},
        suffix=None,
        best_of=1,
        logprobs=None,
        echo=False,
        stream=False,
        stop=None,
        user="somebody",
        seed=None,
        model="scripted-verify",
    )
    assert answer.status == 200, answer
    chat = {
        "messages": [{**MESSAGES[0], "name": None}, {"role": "assistant", "content": "x", "tool_calls": None}],
        "tools": [],
        "tool_choice": "none",
        "parallel_tool_calls": True,
        "top_logprobs": 0,
        "logprobs": False,
        "modalities": ["text"],
        "store": False,
        "max_tokens": 4,
        "max_completion_tokens": 4,
    }
    parse(json.dumps(chat).encode(), ChatCompletionRequest)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b'{"prompt": "a"', "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"prompt": "\\ud800"}', "invalid_json"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"prompt": "a", "temperature": NaN}', "invalid_value"),
        (b"[]", "invalid_value"),
        (b"null", "invalid_value"),
        (b"{}", "missing_parameter"),
    ],
)
async def test_what_is_no_request_is_refused(door: Door, body: bytes, code: str) -> None:
    for path in ("completions", "chat/completions"):
        answer = await ask(f"{door.url}/v1/{path}", body)
        expected = code if path == "completions" or code != "invalid_value" or b"{" not in body else "unknown_parameter"
        assert (answer.status, answer.error["code"]) == (400, expected)


async def test_a_body_too_large_is_refused_and_its_sender_told(door: Door) -> None:
    answer = await ask(f"{door.url}/v1/completions", b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")


MANY = {
    "unknown parameters": {"prompt": "a", **{f"k{number}": 1 for number in range(400_000)}},
    "stop strings of another kind": {"prompt": "a", "stop": [1] * 1_000_000},
    "unknown parameters of messages": {
        "messages": [{"role": "user", "content": "a", **{f"k{at}": 1 for at in range(100)}}] * 4_000
    },
}


@pytest.mark.parametrize("what", MANY)
async def test_a_body_of_countless_values_is_refused_before_each_is_looked_at(door: Door, what: str) -> None:
    body = json.dumps(MANY[what]).encode()
    began = time.process_time()
    answer = await ask(f"{door.url}/v1/{'chat/' if 'messages' in what else ''}completions", body)
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
    assert time.process_time() - began < 3  # a tenth of what gathering every fault takes


async def test_what_is_told_back_is_bounded(door: Door) -> None:
    long = "x" * 100_000
    for body in ({long: 1}, {"speculative": {long: 1}}, {"model": long}, {"temperature": long}, {"stop": [long]}):
        answer = await door.complete(**body)
        assert answer.status in (400, 404)
        assert len(answer.body) < 1_000, body.keys()
    assert len((await door.get(f"/v1/{long[:50_000]}")).body) < 1_000


async def test_too_much_is_refused_before_anything_is_tokenised(
    door: Door, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("tokenised")

    monkeypatch.setattr(Tokenizer, "encode", never)
    for body in ({"n": 10**6}, {"n": 129}, {"max_tokens": 2**31 - 1}, {"max_tokens": 10**30}, {"prompt": ["a"] * 129}):
        assert (await door.complete(**{"prompt": "select " * 1000, **body})).status == 400, body


async def test_large_bodies_within_bounds_are_read(door: Door) -> None:
    answer = await door.complete(prompt=[5] * 1_000_000)
    assert answer.status == 400
    assert "1000000 tokens" in answer.error["message"]


async def test_another_model_is_not_found(door: Door) -> None:
    answer = await door.complete(model="gpt-4o")
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert "scripted-verify" in answer.error["message"]


async def test_paths_and_verbs_that_are_not_served_say_so(door: Door) -> None:
    assert (await door.get("/v1/embeddings")).error["code"] == "not_found"
    answer = await door.get("/v1/completions")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert "/openapi.json" in answer.error["message"]
    for path in ("/nothing", "/v1/models/two%0Alines"):  # a line end is not in the router's idea of a path
        answer = await door.get(path)
        assert (answer.status, answer.error["code"]) == (404, "not_found")


async def test_a_model_without_a_template_points_to_completions(door: Door) -> None:
    answer = await door.chat()
    assert (answer.status, answer.error["code"]) == (400, "no_chat_template")
    assert "/v1/completions" in answer.error["message"]


def test_an_unserved_parameter_takes_one_for_one_and_not_for_true() -> None:
    with pytest.raises(BadRequest, match="repetition_penalty"):
        parse(b'{"prompt": "a", "repetition_penalty": true}', CompletionRequest)
