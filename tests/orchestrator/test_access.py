"""Keys at both doors: who is let in, whose sessions are whose, and how much each may ask for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import redis.asyncio as redis
import structlog

from orchestrator.session_store import keys_of
from tandem.api_keys import line_of, new_key
from tandem.v1 import generation_pb2 as pb
from tandem.v1 import types_pb2
from tests.orchestrator.conftest import PROMPT, SCRIPT, Served, Stage
from tests.support.http import Answer, ask

COMPLETION = {"prompt": list(PROMPT), "max_tokens": 5, "temperature": 0}


class Keyed:
    """An orchestrator that asks for keys, and the keys."""

    def __init__(self, served: Served, file: Path, keys: dict[str, str], draft: Any) -> None:
        self.served = served
        self.file = file
        self.keys = keys
        self.draft = draft
        self.url = dict(served.service.ready_fields())["http"]

    def write(self, *lines: str) -> None:
        """Replaces the key file as a careful operator does."""
        partial = self.file.with_suffix(".new")
        partial.write_text("\n".join(lines) + "\n")
        partial.replace(self.file)

    def call(self, name: str, request: Any, who: str | None = "alice") -> Any:
        metadata = () if who is None else (("authorization", f"Bearer {self.keys.get(who, who)}"),)
        return getattr(self.served.stub, name)(request, metadata=metadata, timeout=20)

    def generate(self, who: str | None = "alice", **fields: Any) -> Any:
        values = {"token_ids": pb.TokenIds(ids=PROMPT), "max_tokens": 20} | fields
        return self.call("Generate", pb.GenerateRequest(**values), who)

    async def text(self, who: str | None = "alice", **fields: Any) -> Any:
        return await self.served.read(self.generate(who, **fields))

    async def http(self, path: str, body: Any = None, who: str | None = "alice") -> Answer:
        headers = {} if who is None else {"Authorization": f"Bearer {self.keys.get(who, who)}"}
        return await ask(self.url + path, body, headers)


@pytest.fixture
def start(stage: Stage, tmp_path: Path) -> Callable[..., Any]:
    async def starting(*options: str, **settings: Any) -> Keyed:
        """``options``: what stands behind the digest in alice's line."""
        keys = {name: new_key() for name in ("alice", "bob", "ops")}
        file = tmp_path / "api-keys"
        lines = [line_of(name, key) for name, key in keys.items()]
        lines[0] += " " + " ".join(options)
        file.write_text("\n".join(["# who may call", *lines, ""]).replace(lines[2], lines[2] + " operator"))
        verify, draft = await stage.verify(), await stage.draft()
        served = await stage.orchestrator([verify], [draft], api_keys=file, **settings)
        return Keyed(served, file, keys, draft)

    return starting


async def failure(call: Any) -> grpc.aio.AioRpcError:
    async def end() -> None:
        if isinstance(call, grpc.aio.UnaryStreamCall):
            async for _ in call:
                pass
        else:
            await call

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await end()
    return caught.value


def requests() -> dict[str, Any]:
    """A request of each method of the service, by the method's name."""
    service = pb.DESCRIPTOR.services_by_name["GenerationService"]
    kinds = {"tandem.v1." + name: getattr(pb, name) for name in dir(pb) if name.endswith("Request")}
    kinds["tandem.v1.DescribeRequest"] = types_pb2.DescribeRequest
    return {method.name: kinds[method.input_type.full_name]() for method in service.methods}


async def test_principals_share_no_computed_prompts_and_their_own_salts_divide_further(start: Any) -> None:
    keyed = await start()
    for who in ("alice", "alice", "bob"):
        for salt in (b"", b"team"):
            await keyed.text(who, cache_salt=salt)
    await keyed.text("alice", cache_salt=keyed.draft.opened[4].decoding.cache_salt)  # what bob's was made into
    salts = [run.decoding.cache_salt for run in keyed.draft.opened]
    assert salts[:2] == salts[2:4]
    assert len({*salts, b"", b"team"}) == 7


async def test_no_method_answers_without_a_valid_key(start: Any) -> None:
    keyed = await start()
    wrong = [
        None,
        "",
        "x",
        keyed.keys["alice"][:-1],
        keyed.keys["alice"] + "x",
        keyed.keys["alice"].upper(),
        "a" * 5000,
    ]
    said = set()
    for name, request in requests().items():
        for who in wrong:
            error = await failure(keyed.call(name, request, who))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED, (name, who)
            said.add(error.details())
    assert len(said) == 1  # nobody learns what was wrong
    assert keyed.served.metric("unauthenticated_calls_total") == len(wrong) * len(requests())
    assert not keyed.draft.opened


async def test_a_valid_key_is_served_at_both_doors(start: Any) -> None:
    keyed = await start()
    assert (await keyed.text()).token_ids == SCRIPT[:20]
    answer = await keyed.http("/v1/completions", COMPLETION)
    assert answer.status == 200
    assert answer.json["usage"]["completion_tokens"] == 5
    assert (await keyed.call("Describe", types_pb2.DescribeRequest())).role == "orchestrator"


async def test_http_refuses_in_the_words_of_openai(start: Any) -> None:
    keyed = await start()
    paths = [("/v1/completions", COMPLETION), ("/v1/chat/completions", {}), ("/v1/models", None), ("/v1/nothing", None)]
    paths += [(f"/playground/{name}", {}) for name in ("generate", "resume", "stop", "query")]
    paths += [("/playground/choices", None), ("/playground/examples", None), ("/metrics", None)]
    for path, body in paths:
        for who in (None, "x"):
            answer = await keyed.http(path, body, who)
            assert answer.status == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.error["code"] == "invalid_api_key"
            assert answer.error["type"] == "invalid_request_error"


async def test_what_says_nothing_of_anybody_is_open(start: Any) -> None:
    keyed = await start()
    for path in ("/healthz", "/readyz", "/", "/playground/main.js", "/openapi.json"):
        assert (await keyed.http(path, who=None)).status == 200, path


async def test_metrics_are_the_operators(start: Any) -> None:
    keyed = await start()
    assert (await keyed.http("/metrics", who="alice")).status == 401
    assert (await keyed.http("/metrics", who="ops")).status == 200


async def test_a_session_is_as_if_it_were_not_there_for_others(start: Any) -> None:
    keyed = await start()
    text = await keyed.text()
    session_id = text.started.session_id
    last = text.parts[-1]
    position = last.position + len(last.token_ids)
    resume = lambda name: pb.ResumeRequest(session_id=name, position=position, digest=last.digest)  # noqa: E731
    for name, request in (
        ("Resume", resume),
        ("Cancel", lambda name: pb.CancelRequest(session_id=name)),
        ("GetSession", lambda name: pb.GetSessionRequest(session_id=name)),
        ("Delete", lambda name: pb.DeleteRequest(session_id=name)),
    ):
        refused = await failure(keyed.call(name, request(session_id), "bob"))
        unknown = await failure(keyed.call(name, request("nowhere"), "bob"))
        assert refused.code() is unknown.code() is grpc.StatusCode.NOT_FOUND
        assert refused.details() == unknown.details().replace("nowhere", session_id)
    body = {"session_id": session_id, "position": position, "digest": last.digest.hex()}
    assert (await keyed.http("/playground/resume", body, "bob")).status == 404
    assert (await keyed.http("/playground/stop", {"session_id": session_id}, "bob")).status == 404
    assert (await keyed.call("GetSession", pb.GetSessionRequest(session_id=session_id))).position == position
    assert (await keyed.served.read(keyed.call("Resume", resume(session_id)))).finished.reason


async def test_sessions_opened_while_nobody_was_asked_are_whoevers_who_knows_them(stage: Stage, start: Any) -> None:
    keyed = await start()
    verify = await stage.verify()
    unguarded = await stage.orchestrator([verify])
    free = (await unguarded.text()).started.session_id
    bound = (await keyed.text()).started.session_id
    assert (await keyed.call("GetSession", pb.GetSessionRequest(session_id=free), "bob")).finished
    error = await failure(unguarded.stub.GetSession(pb.GetSessionRequest(session_id=bound)))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_the_key_file_is_read_again_when_it_changes(start: Any) -> None:
    keyed = await start()
    keyed.keys["carol"] = new_key()
    assert (
        await failure(keyed.call("Describe", types_pb2.DescribeRequest(), "carol"))
    ).code().name == "UNAUTHENTICATED"
    keyed.write(line_of("carol", keyed.keys["carol"]))
    await asyncio.sleep(1.1)
    await keyed.call("Describe", types_pb2.DescribeRequest(), "carol")
    assert (await failure(keyed.call("Describe", types_pb2.DescribeRequest()))).code().name == "UNAUTHENTICATED"


@pytest.mark.parametrize("broken", ["carol tandem-plain-key", "carol", ""])
async def test_a_bad_key_file_leaves_the_former_in_force(start: Any, broken: str) -> None:
    keyed = await start()
    if broken:
        keyed.write(broken)
    else:
        keyed.file.unlink()
    await asyncio.sleep(1.1)
    await keyed.call("Describe", types_pb2.DescribeRequest())


async def test_concurrent_sessions_are_bounded_by_principal(start: Any) -> None:
    keyed = await start("max_sessions=2")
    keyed.draft.round_seconds = 0.05
    first, second = keyed.generate(max_tokens=40), keyed.generate(max_tokens=40)
    await first.read()
    await second.read()
    began = time.monotonic()
    error = await failure(keyed.generate())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert float(dict(error.trailing_metadata())["retry-after-seconds"]) > 0
    assert time.monotonic() - began < 1
    answer = await keyed.http("/v1/completions", COMPLETION)
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await keyed.text("bob")).token_ids == SCRIPT[:20]  # others are not held up
    assert (await keyed.http("/v1/completions", COMPLETION | {"n": 3})).status == 400  # never so many at once
    first.cancel()
    second.cancel()
    for _ in range(100):
        if (await keyed.http("/v1/completions", COMPLETION)).status == 200:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("what was left goes on being counted")
    assert keyed.served.metric("limited_calls_total", principal="alice", limit="sessions") >= 2
    assert keyed.served.registry.get_sample_value("tandem:num_requests_running") == 0


async def test_calls_a_minute_are_bounded_by_principal(start: Any) -> None:
    keyed = await start("requests_per_minute=3", principal_requests_per_minute=600)
    for _ in range(3):
        await keyed.call("Describe", types_pb2.DescribeRequest())
    error = await failure(keyed.call("Describe", types_pb2.DescribeRequest()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 15 < float(dict(error.trailing_metadata())["retry-after-seconds"]) <= 20
    answer = await keyed.http("/v1/models")
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert 15 < int(answer.headers["retry-after"]) <= 20
    for _ in range(20):
        await keyed.call("Describe", types_pb2.DescribeRequest(), "bob")
    assert keyed.served.metric("limited_calls_total", principal="alice", limit="requests") == 2


async def test_what_is_stored_names_the_principal_and_no_key(start: Any, stage: Stage) -> None:
    keyed = await start()
    session_id = (await keyed.text()).started.session_id
    client = redis.from_url(stage.redis_url)
    record = await client.hgetall(f"tandem:{{{session_id}}}:record")
    await client.aclose()
    assert json.loads(record[b"setup"])["principal"] == "alice"
    assert keyed.keys["alice"].encode() not in b"".join([*record, *record.values()])


async def test_a_session_can_be_deleted_while_it_runs(start: Any, stage: Stage) -> None:
    """By its owner at another orchestrator: the one that runs it finds out, and does not write it back."""
    keyed = await start()
    keyed.draft.round_seconds = 0.05
    call = keyed.generate(max_tokens=200)
    session_id = (await call.read()).started.session_id
    other = await stage.orchestrator([await stage.verify()], api_keys=keyed.file)
    elsewhere = Keyed(other, keyed.file, keyed.keys, keyed.draft)
    await elsewhere.call("Delete", pb.DeleteRequest(session_id=session_id))
    message = last = await call.read()
    while message:
        last, message = message, await call.read()
    assert last.finished.reason == pb.FINISH_REASON_CANCELLED
    await asyncio.sleep(0.2)
    client = redis.from_url(stage.redis_url)
    assert await client.exists(*keys_of(session_id)) == 1
    assert (await client.hget(keys_of(session_id)[0], "setup")) == b""
    await client.aclose()
    error = await failure(keyed.call("GetSession", pb.GetSessionRequest(session_id=session_id)))
    assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_an_operator_deletes_anybodys_session_and_reads_none(start: Any) -> None:
    keyed = await start()
    session_id = (await keyed.text()).started.session_id
    assert (
        await failure(keyed.call("GetSession", pb.GetSessionRequest(session_id=session_id), "ops"))
    ).code().name == ("NOT_FOUND")
    await keyed.call("Delete", pb.DeleteRequest(session_id=session_id), "ops")
    assert (await failure(keyed.call("GetSession", pb.GetSessionRequest(session_id=session_id)))).code().name == (
        "NOT_FOUND"
    )


@pytest.mark.parametrize(
    ("host", "keys", "warned"), [("0.0.0.0", False, 1), ("0.0.0.0", True, 0), ("127.0.0.1", False, 0)]
)
async def test_an_open_door_to_the_world_is_warned_of_once(
    stage: Stage, tmp_path: Path, host: str, keys: bool, warned: int
) -> None:
    settings: dict[str, Any] = {"host": host}
    if keys:
        settings["api_keys"] = tmp_path / "api-keys"
        settings["api_keys"].write_text(line_of("alice", new_key()))
    with structlog.testing.capture_logs() as lines:
        await stage.orchestrator([await stage.verify()], **settings)
    assert len([line for line in lines if "no --api-keys" in line["event"]]) == warned


async def test_where_nobody_is_asked_all_together_are_one_principal(stage: Stage) -> None:
    served = await stage.orchestrator([await stage.verify()], principal_requests_per_minute=2)
    for key in ("one", "two"):
        metadata = (("authorization", f"Bearer {key}"),)
        await served.stub.Describe(types_pb2.DescribeRequest(), metadata=metadata)
    error = await failure(served.stub.Describe(types_pb2.DescribeRequest()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.metric("limited_calls_total", principal="anyone", limit="requests") == 1


async def test_a_stream_that_was_let_in_outlives_its_key(start: Any) -> None:
    keyed = await start()
    keyed.draft.round_seconds = 0.1
    call = keyed.generate(max_tokens=80)
    await call.read()
    keyed.write(line_of("carol", new_key()))
    await asyncio.sleep(1.1)
    assert (await failure(keyed.call("Describe", types_pb2.DescribeRequest()))).code().name == "UNAUTHENTICATED"
    message = last = await call.read()
    while message:
        last, message = message, await call.read()
    assert last.finished.reason == pb.FINISH_REASON_LENGTH


async def test_a_large_body_without_a_key_is_answered_and_not_cut(start: Any) -> None:
    keyed = await start()
    for megabytes in (1, 7):
        answer = await keyed.http("/v1/completions", {"prompt": "x" * (megabytes << 20)}, who=None)
        assert answer.status == 401
