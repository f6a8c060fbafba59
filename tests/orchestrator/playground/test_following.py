"""What the page is told of a text: every token with its source, every round, and the rest after a lost connection."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.playground.telling import source
from tandem.tokenization import Tokenizer
from tests.orchestrator.conftest import Stage
from tests.orchestrator.openai.doors import EOS, Door, ids, open_door
from tests.support.http import Answer, Connection, ask
from tests.support.waiting import until

WHOLE = "select name from people; naïve café 🚀 東京 👩‍🚀, the end"
PROMPT = "!#"  # three tokens, as the script expects


async def generate(door: Door, **fields: Any) -> Answer:
    return await ask(f"{door.url}/playground/generate", {"prompt": PROMPT, "max_tokens": 200} | fields)


async def resume(door: Door, session_id: str, event: dict[str, Any]) -> Answer:
    body = {"session_id": session_id, "position": event["position"], "digest": event["digest"]}
    return await ask(f"{door.url}/playground/resume", body)


def tokens(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [token for event in events if event["type"] == "part" for one in event["rounds"] for token in one["tokens"]]


def text(events: list[dict[str, Any]]) -> str:
    return "".join(token["text"] for token in tokens(events)) + events[-1]["rest"]


@pytest.mark.parametrize(
    ("index", "num_accepted", "num_drafted", "expected"),
    [(0, 2, 4, "accepted"), (2, 2, 4, "correction"), (0, 0, 4, "correction"), (4, 4, 4, "bonus"), (0, 0, 0, "own")],
)
def test_where_a_token_comes_from(index: int, num_accepted: int, num_drafted: int, expected: str) -> None:
    assert source(index, num_accepted, num_drafted) == expected


async def test_tokens_and_rounds_are_told_and_no_character_is_split(stage: Stage, tokenizer: Tokenizer) -> None:
    door = await open_door(stage, [*ids(tokenizer, WHOLE), EOS])
    assert len(tokenizer.encode(PROMPT)) == 3
    started, *parts, finished = (await generate(door, seed=4, draft_length=3)).events
    assert (started["seed"], started["speculation"]["draft_length"], started["position"]) == (4, 3, 3)
    assert text([*parts, finished]) == WHOLE
    found = tokens(parts)
    assert [token["id"] for token in found] == [*ids(tokenizer, WHOLE), EOS]
    assert (found[-1]["text"], found[-1]["name"]) == ("", "</s>")
    fragments = [token for token in found[:-1] if not token["text"]]
    assert fragments
    assert {token["name"] for token in fragments} == {"\ufffd"}
    assert "\ufffd" not in "".join(token["text"] for token in found)
    rounds = [one for part in parts for one in part["rounds"]]
    for one in rounds:
        accepted = [token["source"] == "accepted" for token in one["tokens"]]
        assert accepted == sorted(accepted, reverse=True)
        assert sum(accepted) == one["num_accepted"]
        assert len(one["nodes"]) == 512  # as many as the scripted replica says it judged
        assert one["stage_seconds"]["commit"] > 0
    assert sum(one["num_accepted"] for one in rounds) == finished["usage"]["num_accepted_draft_tokens"]
    assert finished["reason"] == "stop"


async def test_alone_the_target_writes_its_own(stage: Stage, tokenizer: Tokenizer) -> None:
    door = await open_door(stage, [*ids(tokenizer, WHOLE), EOS])
    events = (await generate(door, method="autoregressive")).events
    assert {token["source"] for token in tokens(events)} == {"own"}


async def test_the_rest_is_told_from_any_part_on(stage: Stage, tokenizer: Tokenizer) -> None:
    door = await open_door(stage, [*ids(tokenizer, WHOLE), EOS])
    started, *parts, finished = (await generate(door)).events
    for number, event in enumerate((started, *parts)):
        again, *rest = (await resume(door, started["session_id"], event)).events
        assert (again["session_id"], again["digest"]) == (started["session_id"], started["digest"])
        assert text([*parts[:number], *rest]) == WHOLE
        known = [(token["id"], token["text"], token["source"]) for token in tokens(rest)]
        assert known == [(token["id"], token["text"], token["source"]) for token in tokens(parts[number:])]
        assert all(one["nodes"] is None for part in rest[:-1] for one in part["rounds"])
        assert rest[-1]["usage"]["completion_tokens"] == finished["usage"]["completion_tokens"]


async def test_a_session_that_is_left_waits_and_one_that_is_stopped_ends(stage: Stage) -> None:
    door = await open_door(stage)
    connection = await Connection.post(f"{door.url}/playground/generate", {"prompt": PROMPT, "max_tokens": 400})
    started = await connection.event()
    await connection.leave()
    await until(lambda: door.served.metric("num_requests_running") == 0)
    assert (await resume(door, started["session_id"], started)).events[-1]["type"] == "finished"

    connection = await Connection.post(f"{door.url}/playground/generate", {"prompt": PROMPT, "max_tokens": 400})
    started = await connection.event()
    stopped = await ask(f"{door.url}/playground/stop", {"session_id": started["session_id"]})
    assert stopped.status == 204
    await connection.leave()
    ended = await resume(door, started["session_id"], started)
    assert ended.events[-1]["error"]["code"] == "cancelled"


async def test_refusals_name_what_is_wrong(stage: Stage) -> None:
    door = await open_door(stage)
    assert (await generate(door, beam=4)).error["param"] == "beam"
    assert (await generate(door, draft_length=33)).error["param"] == "draft_length"
    assert (await generate(door, max_tokens=10**6)).error["param"] == "max_tokens"
    unknown = {"session_id": "nobody", "position": 5, "digest": "0" * 32}
    assert (await ask(f"{door.url}/playground/resume", unknown)).error["code"] == "not_found"
    started = (await generate(door, max_tokens=8)).events[0]
    assert (await resume(door, started["session_id"], started | {"digest": "0" * 32})).error["code"] == "data_loss"
    assert (await resume(door, started["session_id"], started | {"digest": "zz"})).error["param"] == "digest"
