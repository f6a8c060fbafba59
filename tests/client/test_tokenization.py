from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import ModelRefused
from tandem.tokenization import Tokenizer, tokenizer_digest
from tests.support.tiny_pair import CORPUS, make_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", CORPUS)
def test_text_survives_the_round_trip_and_the_post_processor_adds_its_token(tokenizer: Tokenizer, text: str) -> None:
    token_ids = tokenizer.encode(text)
    assert token_ids[0] == 0
    assert tokenizer.decode(token_ids) == text


def test_padding_and_truncation_of_the_file_are_switched_off(folder: Path) -> None:
    definition = json.loads((folder / "tokenizer.json").read_text())
    definition["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    assert len(Tokenizer(json.dumps(definition)).encode("select name, age from people")) > 3


@given(text=st.text(max_size=30), data=st.data())
def test_a_stream_adds_up_to_the_text_and_never_splits_a_character(
    tokenizer: Tokenizer, text: str, data: st.DataObject
) -> None:
    token_ids = tokenizer.encode(text)
    stream, pieces = tokenizer.stream(), []
    while token_ids:
        count = data.draw(st.integers(1, len(token_ids)))
        pieces.append(stream.push(token_ids[:count]))
        token_ids = token_ids[count:]
    assert all("\ufffd" not in piece for piece in pieces if "\ufffd" not in text)
    assert "".join(pieces) + stream.flush() == text


@given(token_ids=st.lists(st.integers(0, 319), max_size=40))
def test_a_stream_of_any_tokens_adds_up_to_what_decode_says(tokenizer: Tokenizer, token_ids: list[int]) -> None:
    stream = tokenizer.stream()
    assert "".join([stream.push([token]) for token in token_ids]) + stream.flush() == tokenizer.decode(token_ids)


@given(token_ids=st.lists(st.integers(0, 319), max_size=60))
def test_what_has_been_returned_depends_on_the_tokens_alone(tokenizer: Tokenizer, token_ids: list[int]) -> None:
    in_steps, at_once = tokenizer.stream([5]), tokenizer.stream([5])
    assert "".join([in_steps.push([token]) for token in token_ids]) == at_once.push(token_ids)


@given(token_ids=st.lists(st.integers(0, 319), max_size=40), token_id=st.integers(0, 319))
def test_a_look_ahead_says_what_would_be_returned_and_changes_nothing(
    tokenizer: Tokenizer, token_ids: list[int], token_id: int
) -> None:
    looked, plain = tokenizer.stream([5]), tokenizer.stream([5])
    for token in token_ids:
        ahead = looked.peek(token)
        looked.peek(token_id)
        assert ahead == looked.push([token]) == plain.push([token])


def test_a_stream_can_begin_after_a_context(tokenizer: Tokenizer) -> None:
    context, rest = tokenizer.encode("select name, age"), tokenizer.encode(" from people")
    stream = tokenizer.stream(context)
    assert stream.push(rest) + stream.flush() == " from people"


def test_a_context_may_end_within_a_character(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("x東")
    stream = tokenizer.stream(token_ids[:-1])
    assert stream.push(token_ids[-1:]) == "東"


def test_an_unfinished_character_comes_out_at_the_end(tokenizer: Tokenizer) -> None:
    first = tokenizer.encode("東")[1:2]
    stream = tokenizer.stream()
    assert stream.push(first) == ""
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""


def test_the_digest_ignores_the_layout_of_the_file_but_no_part_of_what_it_does(folder: Path, tmp_path: Path) -> None:
    definition = json.loads((folder / "tokenizer.json").read_text())
    assert tokenizer_digest(folder) == Tokenizer.from_pretrained(folder).digest

    def digest_of(changed: dict[str, object]) -> str:
        (tmp_path / "tokenizer.json").write_text(json.dumps(changed, indent=7))
        return tokenizer_digest(tmp_path)

    older = json.loads(json.dumps(definition))
    older["model"]["merges"] = [" ".join(pair) for pair in older["model"]["merges"]]
    assert digest_of(definition) == digest_of(older) == tokenizer_digest(folder)

    fewer_merges = json.loads(json.dumps(definition))
    fewer_merges["model"]["merges"].pop()
    normalised = definition | {"normalizer": {"type": "Lowercase"}}
    unmarked = json.loads(json.dumps(definition))
    unmarked["added_tokens"][1]["special"] = False
    digests = {digest_of(changed) for changed in (definition, fewer_merges, normalised, unmarked)}
    assert len(digests) == 4


def test_a_model_without_a_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"no tokenizer\.json"):
        Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(ModelRefused, match="neither a folder nor"):
        tokenizer_digest(tmp_path / "missing" / "folder")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelRefused, match="does not define"):
        Tokenizer.from_pretrained(tmp_path)


def test_a_model_of_the_hub_that_cannot_be_had_is_refused_by_name() -> None:
    code = (
        "from tandem.chat_template import ChatTemplate\nfrom tandem.tokenization import Tokenizer\n"
        "assert ChatTemplate.from_pretrained('nobody/nothing') is None\n"
        "try: Tokenizer.from_pretrained('nobody/nothing')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("ModelRefused no tokenizer.json for nobody/nothing")
