"""The HTTP door as programs use it: OpenAI's own client, against the whole stack."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tandem import Client
from tandem.chat_template import ChatTemplate
from tandem.rpc.channel import open_channel
from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2 as pb
from tandem.v1.generation_pb2_grpc import GenerationServiceStub
from tests.e2e.running import Up
from tests.support.http import Connection, send

PROMPT = "select name, age from people"
TALK: list[dict[str, str]] = [
    {"role": "system", "content": "You answer."},
    {"role": "user", "content": "How many singers are there, naïve 🚀?"},
]


@pytest.fixture
def api(stack: Up) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stack.told['http'][0]}/v1", api_key="none", max_retries=0, timeout=60) as api:
        yield api


@pytest.fixture
async def async_api(stack: Up) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{stack.told['http'][0]}/v1", api_key="none", max_retries=0) as api:
        yield api


@pytest.fixture
def model(api: OpenAI) -> str:
    (served,) = api.models.list().data
    assert api.models.retrieve(served.id) == served
    return served.id


def test_the_model_is_named_after_its_folder(model: str) -> None:
    assert model == "target"


@pytest.mark.parametrize("method", ["mtad", "mmtad", "coupled", "autoregressive", "specinfer"])
def test_the_text_is_the_clients_with_the_same_seed(api: OpenAI, client: Client, model: str, method: str) -> None:
    made = client.generate(PROMPT, seed=11, max_tokens=24, method=method, draft_length=3)
    extra = {"speculative": {"method": method, "num_speculative_tokens": 3}}
    asked = {"model": model, "prompt": PROMPT, "seed": 11, "max_tokens": 24, "extra_body": extra}
    found = api.completions.create(**asked)
    assert (found.choices[0].text, found.choices[0].finish_reason) == (made.text, made.finish_reason)
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(made.prompt_token_ids)
    assert found.usage.completion_tokens == len(made.token_ids)
    figures = found.usage.model_extra or {}
    assert (figures["method"], figures["seed"]) == (method, 11)
    assert figures["acceptance_histogram"] == list(made.usage.acceptance_histogram)
    assert figures["mean_acceptance_length"] == made.usage.mean_acceptance_length
    assert figures["output_perplexity"] == pytest.approx(made.usage.output_perplexity, rel=1e-3)
    again = api.completions.create(**asked)
    assert (again.choices[0].text, again.system_fingerprint) == (found.choices[0].text, found.system_fingerprint)


def test_speculation_turned_off_is_plain_decoding(api: OpenAI, client: Client, model: str) -> None:
    made = client.generate(PROMPT, seed=2, max_tokens=16, method="autoregressive")
    found = api.completions.create(model=model, prompt=PROMPT, seed=2, max_tokens=16, extra_body={"speculative": False})
    assert found.choices[0].text == made.text
    assert found.usage is not None
    assert (found.usage.model_extra or {})["method"] == "autoregressive"


def test_prompts_of_every_form_and_choices_with_seeds_that_follow(
    api: OpenAI, client: Client, model: str, tiny_pair: tuple[Path, Path]
) -> None:
    prompts = [PROMPT, "how many singers"]
    by_seed = {
        (prompt, seed): client.generate(prompt, seed=seed, max_tokens=12).text for prompt in prompts for seed in (5, 6)
    }
    expected = [by_seed[prompt, seed] for prompt in prompts for seed in (5, 6)]
    tokenizer = Tokenizer.from_pretrained(tiny_pair[0])
    for given in (prompts, [tokenizer.encode(prompt) for prompt in prompts]):
        found = api.completions.create(model=model, prompt=given, seed=5, n=2, max_tokens=12)
        assert [choice.text for choice in found.choices] == expected
        assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    alone = api.completions.create(model=model, prompt=tokenizer.encode(PROMPT), seed=6, max_tokens=12)
    assert alone.choices[0].text == by_seed[PROMPT, 6]


def test_a_stream_adds_up_to_the_text(api: OpenAI, client: Client, model: str) -> None:
    made = client.generate(PROMPT, seed=3, max_tokens=60, ignore_eos=True)
    stream = api.completions.create(
        model=model,
        prompt=PROMPT,
        seed=3,
        max_tokens=60,
        stream=True,
        stream_options={"include_usage": True},
        logprobs=0,
        extra_body={"ignore_eos": True},
    )
    *chunks, last = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == made.text
    assert len(chunks) > 3
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.usage is not None
    assert (last.usage.completion_tokens, last.choices) == (60, [])
    assert (last.usage.model_extra or {})["num_spec_steps"] == made.usage.num_spec_steps
    log_probs = [value for chunk in chunks for value in (chunk.choices[0].logprobs.token_logprobs or ())]  # type: ignore[union-attr]
    assert sum(log_probs) == pytest.approx(-made.usage.output_negative_log_likelihood, rel=1e-3)


def test_a_stop_string_ends_the_text_before_itself(api: OpenAI, client: Client, model: str) -> None:
    whole = client.generate(PROMPT, seed=4, max_tokens=60, ignore_eos=True).text
    stop = whole[10:13]
    asked = {"model": model, "prompt": PROMPT, "seed": 4, "max_tokens": 60, "stop": [stop]}
    found = api.completions.create(**asked, extra_body={"ignore_eos": True})
    assert found.choices[0].text == whole[: whole.index(stop)]
    assert found.choices[0].finish_reason == "stop"
    streamed = api.completions.create(**asked, stream=True, extra_body={"ignore_eos": True})
    assert "".join(chunk.choices[0].text for chunk in streamed) == found.choices[0].text


def test_a_conversation_is_written_by_the_models_template(
    api: OpenAI, client: Client, model: str, tiny_pair: tuple[Path, Path]
) -> None:
    template = ChatTemplate.from_pretrained(tiny_pair[0])
    assert template is not None
    tokenizer = Tokenizer.from_pretrained(tiny_pair[0])
    prompt = tokenizer.encode(template.render(TALK), add_special_tokens=False)
    made = client.generate(prompt, seed=9, max_tokens=20)
    asked = {"model": model, "messages": TALK, "seed": 9, "max_completion_tokens": 20}
    found = api.chat.completions.create(**asked)
    message = found.choices[0].message
    assert (message.role, message.content) == ("assistant", made.text)
    assert found.usage is not None
    assert found.usage.prompt_tokens == len(prompt)
    chunks = list(api.chat.completions.create(**asked, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == made.text
    talk = [*TALK, message.model_dump(), {"role": "user", "content": "And now?"}]
    assert api.chat.completions.create(**asked | {"messages": talk}).choices[0].message.content is not None
    stop = made.text[5:7]
    with api.chat.completions.stream(**asked, stop=stop) as stream:
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.content == made.text[: made.text.index(stop)]


async def test_the_asyncio_client_streams_many_at_once(async_api: AsyncOpenAI, client: Client, model: str) -> None:
    async def text(seed: int) -> str:
        stream = await async_api.completions.create(model=model, prompt=PROMPT, seed=seed, max_tokens=16, stream=True)
        return "".join([chunk.choices[0].text async for chunk in stream])

    texts = await asyncio.gather(*(text(seed) for seed in range(6)))
    expected = [(await asyncio.to_thread(client.generate, PROMPT, seed=seed, max_tokens=16)).text for seed in range(6)]
    assert list(texts) == expected


def test_a_bias_bans_and_forces(api: OpenAI, client: Client, model: str) -> None:
    asked: dict[str, Any] = {"model": model, "seed": 6, "max_tokens": 24, "extra_body": {"ignore_eos": True}}
    free = client.generate(PROMPT, seed=6, max_tokens=24, ignore_eos=True)
    favourite = max(free.token_ids, key=free.token_ids.count)
    for bias in (-100, 100):
        expected = client.generate(PROMPT, seed=6, max_tokens=24, ignore_eos=True, logit_bias={favourite: bias})
        assert expected.token_ids.count(favourite) == (24 if bias > 0 else 0)
        made = api.completions.create(prompt=PROMPT, logit_bias={str(favourite): bias}, **asked)
        assert made.choices[0].text == expected.text
    penalties = {"presence_penalty": 1.5, "frequency_penalty": 0.5}
    made = api.completions.create(prompt=PROMPT, **penalties, **asked)
    penalised = client.generate(PROMPT, seed=6, max_tokens=24, ignore_eos=True, **penalties)  # type: ignore[arg-type]
    assert made.choices[0].text == penalised.text != free.text
    chat = {"messages": [{"role": "user", "content": "hi"}], **asked}
    said = [
        api.chat.completions.create(**chat, **fields).choices[0].message.content
        for fields in ({}, penalties, {"logit_bias": {str(favourite): 100}})
    ]
    assert len(set(said)) == 3


def test_errors_are_the_clients_exceptions(api: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        api.completions.create(model="gpt-4o", prompt=PROMPT)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        api.embeddings.create(model=model, input="x")
    for fields, param in (
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"extra_body": {"repetition_penalty": 1.1}}, "repetition_penalty"),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
        ({"temperature": 11}, "temperature"),
        ({"extra_body": {"beam": 4}}, "beam"),
    ):
        with pytest.raises(openai.BadRequestError, match=param) as refused:
            api.completions.create(**{"model": model, "prompt": PROMPT, "max_tokens": 4, **fields})
        assert refused.value.param == param
        assert refused.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        api.completions.create(model=model, prompt=PROMPT, max_tokens=10**6)
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        api.completions.create(model=model, prompt=PROMPT, max_tokens=10**6, stream=True)


async def test_a_client_that_leaves_cancels_its_session(stack: Up) -> None:
    body = {"prompt": PROMPT, "max_tokens": 480, "ignore_eos": True, "stream": True}
    connection = await Connection.post(f"{stack.told['http'][0]}/v1/completions", body)
    request = pb.GetSessionRequest(session_id=(await connection.event())["id"].removeprefix("cmpl-"))
    await connection.leave()
    async with open_channel(stack.told["grpc"][0]) as channel, asyncio.timeout(20):
        stub = GenerationServiceStub(channel)  # type: ignore[no-untyped-call]
        while not (session := await stub.GetSession(request)).finished:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert session.reason == pb.FINISH_REASON_CANCELLED
    assert session.position < 400


def test_a_request_without_a_library(stack: Up, client: Client) -> None:
    made = client.generate(PROMPT, seed=1, max_tokens=8)
    answer = send(
        f"{stack.told['http'][0]}/v1/completions",
        {"prompt": PROMPT, "seed": 1, "max_tokens": 8},
        {"X-Request-Id": "by-hand"},
    )
    assert (answer.status, answer.headers["x-request-id"]) == (200, "by-hand")
    assert answer.json["choices"][0]["text"] == made.text
    assert send(f"{stack.told['http'][0]}/openapi.json").json["paths"]["/v1/completions"]
