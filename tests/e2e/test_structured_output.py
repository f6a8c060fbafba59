"""Texts that must match something, from models of random weights, which of themselves would never."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, ConfigDict, Field

from tandem import Client
from tandem.decoding.methods import METHODS
from tandem.errors import InvalidArgument
from tandem.generation import Options
from tests.e2e.running import Up

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "structured-output.md").read_text()
PROMPT = "select name, age from people"


class Person(BaseModel):
    """What the texts are to be."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=6)
    age: int = Field(ge=0, le=120)
    role: Literal["singer", "dancer"]


SCHEMA = Person.model_json_schema()
LIST = 'start: item ("," item)~0..3\nitem: "(" /[a-z]{1,3}/ ":" /[0-9]{1,2}/ ")"'
LIST_IN_PYTHON = r"\([a-z]{1,3}:[0-9]{1,2}\)(,\([a-z]{1,3}:[0-9]{1,2}\)){0,3}"
LONG: Options = {"max_tokens": 400}


@pytest.fixture
def api(stack: Up) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stack.told['http'][0]}/v1", api_key="none", max_retries=0, timeout=60) as api:
        yield api


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_what_parses(client: Client, method: str, temperature: float) -> None:
    for seed in range(3):
        options: Options = {"method": method, "seed": seed, "temperature": temperature, **LONG}
        made = client.generate(PROMPT, json_schema=SCHEMA, **options)
        assert made.finish_reason == "stop"
        Person.model_validate_json(made.text)
        made = client.generate(PROMPT, grammar=LIST, **options)
        assert re.fullmatch(LIST_IN_PYTHON, made.text)


def test_services_say_what_one_process_says(client: Client, tiny_pair: tuple[Path, Path]) -> None:
    from tandem.local import LocalDecoder

    decoder = LocalDecoder(*tiny_pair, dtype="float32")
    for method in ("autoregressive", "mtad", "specinfer", "mtjd"):
        options: Options = {"method": method, "seed": 4, "json_schema": SCHEMA, **LONG}
        made, local = client.generate(PROMPT, **options), decoder.generate(PROMPT, **options)
        assert made.token_ids == local.token_ids
        # The likelihoods stay those of the target as it is, which would have said something else.
        assert made.usage.output_negative_log_likelihood == pytest.approx(local.usage.output_negative_log_likelihood)
        assert made.usage.output_perplexity > 50


def test_drafts_are_held_to_it_too(client: Client) -> None:
    made = client.generate(PROMPT, method="mtad", seed=1, json_schema=SCHEMA, trace=True, **LONG)
    assert made.usage.num_accepted_draft_tokens > 0
    drafted = [value for traced in made.rounds for value in traced.target_joint_log_probs]
    assert sum(value > -float("inf") for value in drafted) > len(drafted) / 4


def test_a_session_is_resumed_under_its_constraint(client: Client) -> None:
    whole = client.generate(PROMPT, seed=3, json_schema=SCHEMA, **LONG)
    with client.stream(PROMPT, seed=3, json_schema=SCHEMA, **LONG) as stream:
        first = next(iter(stream))
    session_id, position = stream.session_id, first.position + len(first.token_ids)
    with client.resume(session_id, position, first.digest) as rest:
        resumed = [token for part in rest for token in part.token_ids]
    assert (*first.token_ids, *resumed) == whole.token_ids


def test_a_stop_string_ends_before_it_matches(client: Client) -> None:
    made = client.generate(PROMPT, seed=3, json_schema=SCHEMA, stop='"age"', **LONG)
    assert made.finish_reason == "stop"
    assert '"age"' not in made.text


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a schema that is no JSON": ({"json_schema": "{"}, "json_schema cannot be served"),
    "a keyword that is not supported": ({"json_schema": {"not": {}}}, "Unimplemented"),
    "a schema that cannot be sent": ({"json_schema": {"enum": {1, 2}}}, "json_schema"),
    "a grammar without a start": ({"grammar": 'item: "a"'}, "grammar cannot be served"),
    "an open bracket": ({"regex": "(a"}, "unclosed group"),
    "two at once": ({"regex": "a", "grammar": 'start: "a"'}, "grammar and regex were given"),
    "an empty expression": ({"regex": ""}, "regex has 0 characters"),
    "a very long one": ({"regex": "a" * 65537}, "regex has 65537 characters"),
    "end tokens passed over": ({"regex": "a", "ignore_eos": True}, "ignore_eos"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_served_is_refused_by_name(client: Client, case: str) -> None:
    options, expected = BAD[case]
    with pytest.raises(InvalidArgument, match=re.escape(expected)):
        client.generate(PROMPT, **options)


def test_one_that_grows_too_complex_fails_by_name_and_nobody_else(client: Client) -> None:
    alone = client.generate(PROMPT, seed=5, max_tokens=40)
    with client.stream(PROMPT, seed=5, max_tokens=40) as neighbour:
        first = next(iter(neighbour))
        with pytest.raises(InvalidArgument, match="the regex cannot be served: lexer error"):
            client.generate(PROMPT, regex="a{1000}{1000}")
        rest = [token for part in neighbour for token in part.token_ids]
    assert (*first.token_ids, *rest) == alone.token_ids


def test_the_commands_of_the_guide(stack: Up, tmp_path: Path) -> None:
    (tmp_path / "person.json").write_text(json.dumps(SCHEMA))
    commands = [shlex.split(line[2:]) for line in GUIDE.splitlines() if line.startswith("$ ")]
    assert len(commands) == 2
    printed: list[str] = []
    for program, *arguments in commands:
        assert program == "tandem"
        command = [sys.executable, "-m", "tandem.cli.main", *arguments, "--address", stack.told["grpc"][0]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout[:-1])
    assert re.fullmatch(" (yes|no)", printed[0])
    Person.model_validate_json(printed[1])


# ---------------------------------------------------------------------------------------------------------- over HTTP


@pytest.mark.parametrize("method", ["autoregressive", "mtad", "mmtad"])
def test_openais_client_parses_its_own_models(api: OpenAI, method: str) -> None:
    found = api.chat.completions.parse(
        model="target",
        messages=[{"role": "user", "content": "Who?"}],
        response_format=Person,
        max_completion_tokens=400,
        seed=1,
        extra_body={"speculative": {"method": method}},
    )
    assert found.choices[0].finish_reason == "stop"
    assert isinstance(found.choices[0].message.parsed, Person)


def test_any_object_and_streams_add_up(api: OpenAI, client: Client) -> None:
    schema = {"name": "person", "schema": SCHEMA, "strict": True}
    stream = api.chat.completions.create(
        model="target",
        messages=[{"role": "user", "content": "Who?"}],
        response_format={"type": "json_schema", "json_schema": schema},
        max_completion_tokens=400,
        seed=2,
        stream=True,
    )
    Person.model_validate_json("".join(chunk.choices[0].delta.content or "" for chunk in stream))
    for seed in range(20):
        # Any object at all may be as long as it likes: only those that ended have to parse.
        body = {"response_format": {"type": "json_object"}}
        found = api.completions.create(model="target", prompt=PROMPT, seed=seed, max_tokens=80, extra_body=body)
        assert found.choices[0].text.lstrip().startswith("{")
        if found.choices[0].finish_reason == "stop":
            assert isinstance(json.loads(found.choices[0].text), dict)
    text = {"response_format": {"type": "text"}}
    found = api.completions.create(model="target", prompt=PROMPT, seed=2, max_tokens=20, extra_body=text)
    assert found.choices[0].text == client.generate(PROMPT, seed=2, max_tokens=20).text


CHOICES = ["yes", "no", 'a "third", naïve\none']


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"structured_outputs": {"choice": CHOICES}}, "|".join(map(re.escape, CHOICES))),
        ({"structured_outputs": {"regex": "[a-c]{2,4}"}}, "[a-c]{2,4}"),
        ({"structured_outputs": {"grammar": LIST}}, LIST_IN_PYTHON),
        ({"structured_outputs": {"json": {"enum": [1, 22]}}}, "1|22"),
        ({"structured_outputs": {"json": '{"enum": [1, 22]}'}}, "1|22"),
        ({"grammar": LIST}, LIST_IN_PYTHON),
    ],
)
def test_the_other_shapes(api: OpenAI, fields: dict[str, Any], expected: str) -> None:
    for seed in range(3):
        found = api.completions.create(model="target", prompt=PROMPT, seed=seed, max_tokens=100, extra_body=fields)
        assert re.fullmatch(expected, found.choices[0].text)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}}, None),
        ({"grammar": "start: nobody"}, "grammar"),
        ({"structured_outputs": {"regex": "(a"}}, "structured_outputs"),
        ({"grammar": 'start: "a"', "ignore_eos": True}, "ignore_eos"),
    ],
)
def test_errors_name_their_parameter(api: OpenAI, fields: dict[str, Any], param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.completions.create(model="target", prompt=PROMPT, extra_body=fields)
    assert refused.value.param == (param or "response_format")
