"""A text of `LocalDecoder`, part by part."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem import LocalDecoder
from tandem.decoding.values import RunningDigest
from tandem.errors import InvalidArgument

PROMPT = "select name, age from people"


@pytest.fixture(scope="module")
def decoder(tiny_pair: tuple[Path, Path]) -> LocalDecoder:
    return LocalDecoder(*tiny_pair, dtype="float32", num_kv_slots=1024)


def test_parts_add_up_to_the_text(decoder: LocalDecoder) -> None:
    whole = decoder.generate(PROMPT, seed=3, max_tokens=30, ignore_eos=True, trace=True)
    with decoder.stream(PROMPT, seed=3, max_tokens=30, ignore_eos=True, trace=True) as stream:
        parts = list(stream)
    made = stream.generation
    assert (made.token_ids, made.text, made.finish_reason) == (whole.token_ids, whole.text, "length")
    assert "".join(part.text for part in parts) == whole.text
    digest, position = RunningDigest(whole.prompt_token_ids), len(whole.prompt_token_ids)
    for part in parts:
        assert part.position == position
        assert part.digest == digest.extend(part.token_ids)
        assert len(part.rounds) == 1
        position += len(part.token_ids)


def test_texts_read_in_turns_are_what_they_are_alone(decoder: LocalDecoder) -> None:
    alone = [decoder.generate(PROMPT, seed=seed, max_tokens=20, method="mmtad").token_ids for seed in range(3)]
    streams = [decoder.stream(PROMPT, seed=seed, max_tokens=20, method="mmtad") for seed in range(3)]
    running = list(streams)
    while running:
        running = [stream for stream in running if next(stream, None) is not None]
    assert [stream.generation.token_ids for stream in streams] == alone


def test_a_text_that_is_left_makes_room(decoder: LocalDecoder) -> None:
    for _ in range(20):  # each takes a third of the pool while it is open
        with decoder.stream(PROMPT, max_tokens=300, ignore_eos=True) as stream:
            next(stream)
            stream.cancel()
            assert list(stream) == []
        assert stream.generation.finish_reason == "cancelled"
    assert decoder.generate(PROMPT, max_tokens=300, ignore_eos=True).usage.completion_tokens == 300


def test_what_cannot_be_served_is_said_at_once(decoder: LocalDecoder) -> None:
    with pytest.raises(InvalidArgument, match="magic"):
        decoder.stream(PROMPT, method="magic")
