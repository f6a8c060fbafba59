"""Chat templates say by us what they say by transformers, and can do no harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tandem.chat_template import ChatTemplate
from tandem.errors import InvalidArgument, ModelRefused
from tests.support.chat_templates import CHATML, STRICT
from tests.support.tiny_pair import BOS, EOS, make_tokenizer

TALK = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Hello <b>& 東京</b>"},
    {"role": "assistant", "content": "Hi."},
    {"role": "user", "content": "And now?\n"},
]


def model(folder: Path, **config: Any) -> Path:
    make_tokenizer(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def rendered(folder: Path) -> str:
    template = ChatTemplate.from_pretrained(folder)
    assert template is not None
    return template.render(TALK)


@pytest.mark.parametrize("source", [CHATML, STRICT])
@pytest.mark.parametrize("in_config", [True, False])
def test_it_says_what_transformers_says(tmp_path: Path, source: str, in_config: bool) -> None:
    from transformers import AutoTokenizer

    folder = model(tmp_path, **({"chat_template": source} if in_config else {}))
    if not in_config:
        (folder / "chat_template.jinja").write_text(source)
    theirs = AutoTokenizer.from_pretrained(folder)
    assert rendered(folder) == theirs.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    # The special tokens are in the text: none is added a second time.
    ours = theirs.apply_chat_template(TALK, add_generation_prompt=True, return_dict=False)
    assert theirs.encode(rendered(folder), add_special_tokens=False) == ours


def test_special_tokens_may_be_objects_and_templates_may_be_named(tmp_path: Path) -> None:
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ bos_token }}yes"}]
    folder = model(tmp_path, bos_token={"content": "<begin>", "lstrip": False}, chat_template=named)
    assert rendered(folder) == "<begin>yes"


def test_a_model_may_have_none(tmp_path: Path) -> None:
    assert ChatTemplate.from_pretrained(model(tmp_path)) is None
    (tmp_path / "tokenizer_config.json").unlink()
    assert ChatTemplate.from_pretrained(tmp_path) is None


def test_what_a_template_refuses_is_the_callers_to_mend() -> None:
    with pytest.raises(InvalidArgument, match="roles must alternate"):
        ChatTemplate(STRICT, {"bos_token": BOS, "eos_token": EOS}).render(TALK[2:])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{% set found = namespace(__class__=1) %}",
        "{% set found = namespace() %}{% set found.__class__ = 1 %}",
        "{% include '/etc/passwd' %}",
        "{{ missing.field }}",
    ],
)
def test_a_template_is_kept_in_its_sandbox(source: str) -> None:
    with pytest.raises(InvalidArgument):
        ChatTemplate(source).render(TALK)


def test_what_is_no_template_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="not valid Jinja"):
        ChatTemplate("{% for %}")
    (model(tmp_path) / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(ModelRefused, match="tokenizer_config"):
        ChatTemplate.from_pretrained(tmp_path)


def test_messages_are_not_templates() -> None:
    said = ChatTemplate(CHATML, {"eos_token": EOS}).render([{"role": "user", "content": "{{ 1 + 1 }}{% raw %}"}])
    assert said == "<|user|>{{ 1 + 1 }}{% raw %}</s><|assistant|>"
