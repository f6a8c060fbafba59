"""Chat completions: the model's own template before the text, OpenAI's shapes around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tandem.tokenization import Tokenizer
from tests.orchestrator.conftest import SCRIPT, Stage
from tests.orchestrator.openai.doors import Door, open_door
from tests.support.chat_templates import CHATML
from tests.support.http import ask
from tests.support.tiny_pair import EOS, make_tokenizer

TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]
WRITTEN = f"<|system|>Be brief.{EOS}<|user|>hi{EOS}<|assistant|>"


@pytest.fixture
async def door(stage: Stage, tmp_path: Path) -> Door:
    make_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(CHATML)
    return await open_door(stage, [SCRIPT[0]], tokenizer=str(tmp_path))


async def chat(door: Door, **fields: Any) -> Any:
    return await ask(f"{door.url}/v1/chat/completions", {"messages": TALK, "max_tokens": 10} | fields)


async def test_the_template_writes_the_prompt_and_nothing_is_added(door: Door, tokenizer: Tokenizer) -> None:
    found = (await chat(door, seed=4, logprobs=True, top_logprobs=0)).json
    prompt = tokenizer.encode(WRITTEN, add_special_tokens=False)
    assert tuple(door.draft.opened[0].token_ids) == tuple(prompt)
    assert found["usage"]["prompt_tokens"] == len(prompt)
    assert (found["object"], found["id"][:9]) == ("chat.completion", "chatcmpl-")
    (choice,) = found["choices"]
    text = tokenizer.decode([SCRIPT[0]] * 10)
    assert choice["message"] == {"role": "assistant", "content": text}
    assert (choice["finish_reason"], choice["seed"]) == ("length", 4)
    told = choice["logprobs"]["content"]
    assert len(told) == 10
    assert bytes(byte for token in told for byte in token["bytes"]).decode() == text
    assert {token["logprob"] for token in told} == {-0.25}
    assert all(token["top_logprobs"] == [] for token in told)


async def test_a_stream_says_first_who_speaks(door: Door) -> None:
    whole = (await chat(door, n=2)).json
    events = (await chat(door, n=2, stream=True, stream_options={"include_usage": True})).events
    assert events.pop() == "[DONE]"
    assert events.pop()["usage"]["completion_tokens"] == 20
    for index in (0, 1):
        choices = [choice for event in events for choice in event["choices"] if choice["index"] == index]
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert all("role" not in choice["delta"] for choice in choices[1:])
        text = "".join(choice["delta"].get("content", "") for choice in choices)
        assert text == whole["choices"][index]["message"]["content"]
        assert choices[-1]["finish_reason"] == "length"
        assert choices[-1]["delta"] == {}
    assert {event["object"] for event in events} == {"chat.completion.chunk"}


async def test_the_newer_name_of_max_tokens_counts(door: Door) -> None:
    found = (await chat(door, max_tokens=None, max_completion_tokens=3)).json
    assert found["usage"]["completion_tokens"] == 3


async def test_an_answer_can_be_given_back(door: Door) -> None:
    first = (await chat(door)).json["choices"][0]["message"]
    said = [*TALK, first | {"refusal": None, "annotations": []}, {"role": "user", "content": "again"}]
    assert (await chat(door, messages=said)).status == 200
