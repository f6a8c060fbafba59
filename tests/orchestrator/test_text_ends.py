"""Where texts end: end tokens, lengths, and stop strings, wherever token and round boundaries fall."""

from __future__ import annotations

import pytest

from tandem.tokenization import Tokenizer
from tandem.v1 import generation_pb2 as pb
from tests.orchestrator.conftest import PROMPT, Served, Stage, Text
from tests.support.replicas import scripted

EOS = 1


async def serve(stage: Stage, script: list[int], *, drafted: bool) -> Served:
    next_token = scripted(script, len(PROMPT))
    verify, draft = await stage.verify(next_token), await stage.draft(next_token)
    return await stage.orchestrator([verify], [draft] if drafted else [])


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text)[1:]  # without the token that begins a text


async def stored(served: Served, text: Text) -> pb.GetSessionResponse:
    found: pb.GetSessionResponse = await served.stub.GetSession(
        pb.GetSessionRequest(session_id=text.started.session_id)
    )
    return found


@pytest.mark.parametrize("drafted", [True, False])
async def test_the_first_end_token_ends_the_text(stage: Stage, tokenizer: Tokenizer, drafted: bool) -> None:
    script = [*ids(tokenizer, "order by name"), EOS, *ids(tokenizer, "limit"), EOS]
    served = await serve(stage, script, drafted=drafted)
    text = await served.text(max_tokens=100)
    assert text.token_ids == tuple(script[: script.index(EOS) + 1])
    assert text.text == "order by name"
    assert (text.finished.reason, text.finished.stop) == (pb.FINISH_REASON_STOP, "")
    assert text.finished.usage.completion_tokens == len(text.token_ids)
    session = await stored(served, text)
    assert (session.finished, session.reason) == (True, pb.FINISH_REASON_STOP)
    assert session.position == len(PROMPT) + len(text.token_ids)


async def test_end_tokens_are_passed_over_when_asked(stage: Stage, tokenizer: Tokenizer) -> None:
    script = [*ids(tokenizer, "name"), EOS]
    served = await serve(stage, script, drafted=True)
    text = await served.text(max_tokens=30, ignore_eos=True)
    assert len(text.token_ids) == 30
    assert EOS in text.token_ids
    assert text.finished.reason == pb.FINISH_REASON_LENGTH


@pytest.mark.parametrize("drafted", [True, False])
async def test_no_token_comes_past_max_tokens(stage: Stage, tokenizer: Tokenizer, drafted: bool) -> None:
    script = ids(tokenizer, "select name, age from people where age > 30 order by name; " * 3)
    served = await serve(stage, script, drafted=drafted)
    for max_tokens in (1, 2, 3, 7):
        text = await served.text(max_tokens=max_tokens)
        assert text.token_ids == tuple(script[:max_tokens])
        assert text.text == tokenizer.decode(script[:max_tokens])
        assert text.finished.reason == pb.FINISH_REASON_LENGTH


WHOLE = "select name from people where age > 30; select age from people; naïve café 🚀 東京, the end"


@pytest.mark.parametrize("drafted", [True, False])
async def test_a_stop_string_ends_the_text_wherever_it_falls(stage: Stage, tokenizer: Tokenizer, drafted: bool) -> None:
    served = await serve(stage, [*ids(tokenizer, WHOLE), EOS], drafted=drafted)
    for stop in ("name from", "e f", "; select age from people;", "age > 3", "s", "🚀", "é 🚀 東", "ïv", "end"):
        text = await served.text(max_tokens=200, stop=["never there", stop])
        assert text.text == WHOLE[: WHOLE.index(stop)]
        assert (text.finished.reason, text.finished.stop) == (pb.FINISH_REASON_STOP, stop)
        # Up to and including the token that completed it, and no further.
        assert stop in tokenizer.decode(text.token_ids)
        assert stop not in tokenizer.decode(text.token_ids[:-1])
        session = await stored(served, text)
        assert (session.finished, session.position) == (True, len(PROMPT) + len(text.token_ids))


@pytest.mark.parametrize("drafted", [True, False])
async def test_text_that_might_begin_a_stop_string_is_held_back_and_given_in_the_end(
    stage: Stage, tokenizer: Tokenizer, drafted: bool
) -> None:
    script = [*ids(tokenizer, WHOLE), EOS]
    served = await serve(stage, script, drafted=drafted)
    stop = "people where age > 31"
    text = await served.text(max_tokens=200, stop=[stop, "the end."])
    assert text.text == WHOLE
    shown = ""
    for part in text.parts[:-1]:
        shown += part.text
        assert not any(shown.endswith(stop[:length]) for length in range(1, len(stop)))


async def test_no_part_splits_a_character(stage: Stage, tokenizer: Tokenizer) -> None:
    script = [*ids(tokenizer, "👩‍🚀 東京 Ωμέγα 🚀🚀"), EOS]
    served = await serve(stage, script, drafted=False)
    text = await served.text(max_tokens=200)
    assert len(text.parts) == len(script)  # many of them within a character
    assert all("\N{REPLACEMENT CHARACTER}" not in part.text for part in text.parts)
    assert text.text == "👩‍🚀 東京 Ωμέγα 🚀🚀"


async def test_a_character_cut_off_by_the_length_is_marked(stage: Stage, tokenizer: Tokenizer) -> None:
    script = ids(tokenizer, "a🚀")
    assert len(script) > 2
    served = await serve(stage, script, drafted=False)
    text = await served.text(max_tokens=2)
    assert text.text == tokenizer.decode(script[:2])
    assert text.text.endswith("\N{REPLACEMENT CHARACTER}")


async def test_accepted_tokens_behind_the_end_are_not_counted(stage: Stage, tokenizer: Tokenizer) -> None:
    script = [40, EOS, 41, 42]
    served = await serve(stage, script, drafted=True)
    text = await served.text(max_tokens=100)
    usage = text.finished.usage
    assert text.token_ids == (40, EOS)
    assert (usage.num_accepted_draft_tokens, usage.num_draft_tokens) == (2, 4)
