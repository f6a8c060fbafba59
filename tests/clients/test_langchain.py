"""LangChain against the whole stack: what it sends by itself is served, and what it is told reaches the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tandem import Client
from tests.e2e.running import Up

pytest.importorskip("langchain_openai", reason="langchain-openai is not installed; make test-clients brings it")

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from langchain_openai import OpenAI as Completions

TALK = [SystemMessage("You answer."), HumanMessage("How many singers are there, naïve 🚀?")]
PROMPT = "select name, age from people"


@pytest.fixture
def url(stack: Up) -> str:
    return f"{stack.told['http'][0]}/v1"


def chat(url: str, **fields: Any) -> ChatOpenAI:
    told: dict[str, Any] = {"model": "target", "seed": 3, "max_tokens": 16, "max_retries": 0}
    return ChatOpenAI(base_url=url, api_key="none", **(told | fields))


def complete(url: str, **fields: Any) -> Completions:
    told: dict[str, Any] = {"model": "target", "seed": 3, "max_tokens": 16, "max_retries": 0}
    return Completions(base_url=url, api_key="none", **(told | fields))


@pytest.fixture
def client(stack: Up) -> Iterator[Client]:
    with Client(stack.told["grpc"]) as client:
        yield client


def test_a_conversation_is_answered_and_its_tokens_are_counted(url: str) -> None:
    said = chat(url).invoke(TALK)
    assert said.content
    assert said.usage_metadata is not None
    assert said.usage_metadata["output_tokens"] == 16
    assert said.usage_metadata["total_tokens"] == said.usage_metadata["input_tokens"] + 16
    told = said.response_metadata
    assert (told["model_name"], told["finish_reason"]) == ("target", "length")
    assert told["system_fingerprint"].startswith("fp_")
    assert (told["token_usage"]["method"], told["token_usage"]["seed"]) == ("mtad", 3)


def test_nothing_but_the_address_need_be_set(url: str) -> None:
    assert ChatOpenAI(base_url=url, api_key="none", model="target").invoke("hi").usage_metadata
    assert isinstance(Completions(base_url=url, api_key="none", model="target").invoke("hi"), str)


def test_the_seed_repeats_the_text(url: str) -> None:
    first, again, other = (chat(url, seed=seed).invoke(TALK).content for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_stream_adds_up_to_the_text(url: str) -> None:
    whole = chat(url).invoke(TALK)
    chunks = list(chat(url, stream_usage=True).stream(TALK))
    assert len([chunk for chunk in chunks if chunk.content]) > 2
    added = chunks[0]
    for chunk in chunks[1:]:
        added = added + chunk
    assert added.content == whole.content
    assert added.usage_metadata == whole.usage_metadata
    assert added.response_metadata["finish_reason"] == "length"


async def test_asyncio_says_the_same(url: str) -> None:
    whole = chat(url).invoke(TALK).content
    assert (await chat(url).ainvoke(TALK)).content == whole
    assert "".join([str(chunk.content) async for chunk in chat(url).astream(TALK)]) == whole


def test_a_batch_answers_in_order(url: str) -> None:
    asked = ["one", "two", "three", "four"]
    alone = [chat(url).invoke(one).content for one in asked]
    assert [said.content for said in chat(url).batch(asked)] == alone


def test_an_answer_goes_back_into_the_conversation(url: str) -> None:
    said = chat(url).invoke(TALK)
    assert isinstance(said, AIMessage)
    again = chat(url).invoke([*TALK, said, HumanMessage([{"type": "text", "text": "And now?"}])])
    assert again.usage_metadata is not None
    assert said.usage_metadata is not None
    assert again.usage_metadata["input_tokens"] > said.usage_metadata["total_tokens"]


def test_a_chain_of_prompt_model_and_parser(url: str) -> None:
    chain = ChatPromptTemplate([("system", "You answer."), ("human", "How many {what}?")]) | chat(url)
    text = (chain | StrOutputParser()).invoke({"what": "singers"})
    assert text == chain.invoke({"what": "singers"}).content


def test_what_is_set_decides_the_text(url: str) -> None:
    whole = str(chat(url, max_tokens=40).invoke(TALK).content)
    stop = whole[6:8]
    cut = chat(url, max_tokens=40).invoke(TALK, stop=[stop])
    assert cut.content == whole[: whole.index(stop)]
    assert cut.response_metadata["finish_reason"] == "stop"
    assert chat(url, max_tokens=5).invoke(TALK).usage_metadata["output_tokens"] == 5  # type: ignore[index]
    greedy = [chat(url, temperature=0, seed=seed).invoke(TALK).content for seed in (1, 2)]
    assert greedy[0] == greedy[1]
    penalised = chat(url, presence_penalty=2, frequency_penalty=2, max_tokens=40).invoke(TALK).content
    assert penalised != whole
    told = chat(url, logprobs=True).invoke(TALK).response_metadata["logprobs"]["content"]
    assert len(told) == 16


def test_an_answer_of_a_schema_is_read_into_it(url: str) -> None:
    schema = {
        "title": "Answer",
        "type": "object",
        "properties": {"sure": {"type": "boolean"}, "grade": {"enum": ["good", "bad"]}},
        "required": ["sure", "grade"],
        "additionalProperties": False,
    }
    found = chat(url, max_tokens=60).with_structured_output(schema, method="json_schema").invoke(TALK)
    assert isinstance(found, dict)
    assert found["sure"] in (True, False)
    assert found["grade"] in ("good", "bad")


def test_speculation_is_set_by_an_extra_field(url: str) -> None:
    for given, method in (({"method": "mmtad", "num_speculative_tokens": 2}, "mmtad"), (False, "autoregressive")):
        said = chat(url, extra_body={"speculative": given}).invoke(TALK)
        assert said.response_metadata["token_usage"]["method"] == method


def test_a_refusal_is_the_clients_exception(url: str) -> None:
    with pytest.raises(openai.BadRequestError, match="reasoning_effort") as refused:
        chat(url, reasoning_effort="high").invoke(TALK)
    assert refused.value.param == "reasoning_effort"
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        list(chat(url, max_tokens=10**6).stream(TALK))
    with pytest.raises(openai.NotFoundError, match="gpt-4o"):
        chat(url, model="gpt-4o").invoke(TALK)


def test_completions_write_the_clients_text(url: str, client: Client) -> None:
    # LangChain's own defaults, which it sends unless told otherwise.
    made = client.generate(PROMPT, seed=3, max_tokens=16, temperature=0.7, top_p=1.0)
    writer = complete(url)
    assert writer.invoke(PROMPT) == made.text
    assert "".join(writer.stream(PROMPT)) == made.text
    assert writer.batch([PROMPT, PROMPT]) == [made.text] * 2
    found = writer.generate([PROMPT, "select"], stop=[made.text[4:6]])
    assert found.generations[0][0].text == made.text[: made.text.index(made.text[4:6])]
    assert found.llm_output is not None
    assert found.llm_output["token_usage"]["total_tokens"] > 0


async def test_completions_of_asyncio(url: str) -> None:
    writer = complete(url, n=1, best_of=1)
    whole = writer.invoke(PROMPT)
    assert await writer.ainvoke(PROMPT) == whole
    assert "".join([part async for part in writer.astream(PROMPT)]) == whole
