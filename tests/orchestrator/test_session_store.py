"""The store's scripts, on a real Redis and on its stand-in."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio as redis

from orchestrator.records import KvReference, SessionRecord, Setup, dump_setup, load_setup
from orchestrator.session_store import Lifetimes, SessionStore, keys_of
from tandem.decoding.constraint import Constraint
from tandem.decoding.values import Decoding, Fence, Outcome, RoundName, RunningDigest, Sampling, Speculation
from tandem.errors import DataLoss, InvalidArgument, NotFound, Stale, Unavailable
from tests.support.redis_server import RedisServer

LIFETIMES = Lifetimes(session_seconds=1000, resume_seconds=100)
PROMPT = (5, 6, 7)
NUMBERS = iter(range(10**6))


@pytest.fixture(params=["redis", "fakeredis"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
async def store(url: str) -> AsyncIterator[SessionStore]:
    opened = SessionStore(url, LIFETIMES)
    yield opened
    await opened.close()


@pytest.fixture
async def raw(url: str) -> AsyncIterator[redis.Redis]:
    client = redis.from_url(url)
    yield client
    await client.aclose()


def fence(epoch: int, owner: int = 1) -> Fence:
    return Fence(epoch, bytes([owner]) * 16)


def new_record() -> SessionRecord:
    setup = Setup(
        prompt_length=len(PROMPT),
        decoding=Decoding(Sampling(seed=2**63 + 1), Speculation(), max_position=1000, eos_token_ids=(1, 2)),
        stop=("\n\n", "§"),
        tokenizer_digest="abc",
        drawing_version=1,
        target="def",
        created=12.5,
    )
    digest = RunningDigest(PROMPT).value
    hint = KvReference("verify", "127.0.0.1:1", 3, 1)
    return SessionRecord(f"s{next(NUMBERS)}", setup, fence(1), len(PROMPT), digest, PROMPT, (), kv_references=(hint,))


def outcome_after(text: tuple[int, ...], tokens: tuple[int, ...], num_accepted: int = 0) -> Outcome:
    return Outcome(
        tokens,
        num_accepted,
        4,
        tuple(-0.5 * (index + 1) for index in range(len(tokens))),
        RunningDigest(text + tokens).value,
    )


def name_of(record: SessionRecord, text: tuple[int, ...], held: Fence | None = None) -> RoundName:
    return RoundName(record.session_id, held or record.fence, len(text), RunningDigest(text).value)


async def expiries(raw: redis.Redis, session_id: str) -> list[int]:
    return [await raw.ttl(key) for key in keys_of(session_id) if await raw.exists(key)]


async def test_a_session_is_read_as_it_was_written(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    assert await store.read(record.session_id) == record
    with pytest.raises(Stale, match="exists"):
        await store.create(record)


def test_what_adjusts_logits_is_kept_and_records_from_before_it_was_served_are_read() -> None:
    setup = new_record().setup
    sampling = Sampling(seed=5, presence_penalty=0.5, frequency_penalty=-1.5, logit_bias=((7, -100.0), (3, 0.1)))
    sampling = replace(sampling, constraint=Constraint("regex", "naïve|\n"))
    adjusted = replace(
        setup, decoding=replace(setup.decoding, sampling=sampling, prompt_length=3, cache_salt=b"\xff\x00")
    )
    assert load_setup(dump_setup(adjusted).encode()) == adjusted
    former = json.loads(dump_setup(setup))
    for name in ("prompt_length", "num_top_log_probs"):
        del former["decoding"][name]
    for name in ("presence_penalty", "frequency_penalty", "logit_bias", "constraint"):
        del former["decoding"]["sampling"][name]
    assert load_setup(json.dumps(former).encode()) == setup
    with pytest.raises(DataLoss):
        load_setup(dump_setup(adjusted).replace("[7,-100.0]", "[7]").encode())


async def test_commits_append_and_are_counted(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    first, second = (10, 0, 4_294_967_295), (13,)
    answer = await store.commit(name_of(record, PROMPT), outcome_after(PROMPT, first, 2))
    assert (answer.kind, answer.position) == ("ok", 6)
    text = PROMPT + first
    answer = await store.commit(name_of(record, text), outcome_after(text, second), "stop", "§")
    assert (answer.kind, answer.position) == ("ok", 7)
    found = await store.read(record.session_id)
    assert found.token_ids == text + second
    assert found.digest == RunningDigest(text + second).value
    assert found.log_probs == (-0.5, -1.0, -1.5, -0.5)
    assert (found.ended, found.stop) == ("stop", "§")
    usage = found.usage().usage(0, 0)
    assert (usage.completion_tokens, usage.num_spec_steps, usage.num_accepted_draft_tokens) == (4, 2, 2)
    assert usage.output_negative_log_likelihood == 3.5


async def test_the_most_probable_tokens_are_kept_where_they_are_asked_for(
    store: SessionStore, raw: redis.Redis
) -> None:
    asked = new_record()
    decoding = replace(asked.setup.decoding, num_top_log_probs=2)
    asked = replace(asked, setup=replace(asked.setup, decoding=decoding))
    await store.create(asked)
    tops = (((10, -0.5), (0, -math.inf)), ((4_294_967_295, -1e-300), (2, -3.25)), ())
    outcome = replace(outcome_after(PROMPT, (10, 0, 4)), top_log_probs=tops)
    assert (await store.commit(name_of(asked, PROMPT), outcome)).kind == "ok"
    assert (await store.commit(name_of(asked, PROMPT), outcome)).kind == "duplicate"
    found = await store.read(asked.session_id)
    assert found.top_log_probs == tops
    assert all(seconds > 0 for seconds in await expiries(raw, asked.session_id))
    *_, key = keys_of(asked.session_id)
    await raw.delete(*keys_of(asked.session_id))
    await store.restore(found)
    assert (await store.read(asked.session_id)).top_log_probs == tops
    assert await raw.ttl(key) > 0
    # An orchestrator that does not know the key appends to the others only.
    await raw.set(key, (await raw.get(key))[:25], keepttl=True)
    assert (await store.read(asked.session_id)).top_log_probs == ((), (), ())


async def test_nothing_is_written_of_them_otherwise(store: SessionStore, raw: redis.Redis) -> None:
    record = new_record()
    await store.create(record)
    await store.commit(name_of(record, PROMPT), outcome_after(PROMPT, (9,)))
    *_, key = keys_of(record.session_id)
    assert not await raw.exists(key)
    assert (await store.read(record.session_id)).top_log_probs == ()


async def test_a_repeated_commit_is_answered_with_what_was_stored(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    text, rounds = PROMPT, []
    for number in range(40):
        tokens = tuple(range(100, 100 + 1 + number % 5))
        rounds.append((text, tokens))
        assert (await store.commit(name_of(record, text), outcome_after(text, tokens))).kind == "ok"
        text += tokens
    for before, tokens in rounds:
        again = await store.commit(name_of(record, before), outcome_after(before, (1, 2, 3)))
        assert (again.kind, again.token_ids) == ("duplicate", tokens)
    assert (await store.read(record.session_id)).token_ids == text


async def test_the_last_commit_of_an_ended_text_may_be_repeated_and_nothing_may_follow(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    last = outcome_after(PROMPT, (9,))
    assert (await store.commit(name_of(record, PROMPT), last, "length")).kind == "ok"
    assert (await store.commit(name_of(record, PROMPT), last, "length")).kind == "duplicate"
    text = (*PROMPT, 9)
    assert (await store.commit(name_of(record, text), outcome_after(text, (8,)))).kind == "stale"
    assert (await store.read(record.session_id)).token_ids == text


async def test_an_older_fence_or_another_owner_is_refused(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    await store.raise_epoch(record.session_id, fence(1), fence(4))
    outcome = outcome_after(PROMPT, (9,))
    for refused in (fence(1), fence(3), fence(4, owner=2)):
        answer = await store.commit(name_of(record, PROMPT, refused), outcome)
        assert (answer.kind, answer.highest_epoch) == ("stale", 4)
    assert (await store.commit(name_of(record, PROMPT, fence(4)), outcome)).kind == "ok"


async def test_a_newer_fence_heals_an_epoch_that_the_store_forgot(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    assert (await store.commit(name_of(record, PROMPT, fence(7)), outcome_after(PROMPT, (9,)))).kind == "ok"
    assert (await store.read(record.session_id)).fence == fence(7)


async def test_a_gap_and_another_text_are_told_apart_from_what_fits(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    beyond = (*PROMPT, 8)
    other = (5, 6, 8)
    assert (await store.commit(name_of(record, beyond), outcome_after(beyond, (9,)))).kind == "gap"
    answer = await store.commit(name_of(record, other), outcome_after(other, (9,)))
    assert (answer.kind, answer.position) == ("gap", 3)
    await store.commit(name_of(record, PROMPT), outcome_after(PROMPT, (9, 10)))
    # Within a committed round, and before the first one.
    for text in ((*PROMPT, 9), PROMPT[:2], other):
        assert (await store.commit(name_of(record, text), outcome_after(text, (1,)))).kind == "gap"
    unknown = replace(record, session_id="nobody")
    answer = await store.commit(name_of(unknown, PROMPT), outcome_after(PROMPT, (9,)))
    assert (answer.kind, answer.position) == ("gap", 0)


async def test_of_two_that_raise_the_epoch_one_wins(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    hint = KvReference("draft", "127.0.0.1:2", 3, 2)
    results = await asyncio.gather(
        *(store.raise_epoch(record.session_id, fence(1), fence(2, owner), (hint,)) for owner in (1, 2, 3)),
        return_exceptions=True,
    )
    assert [type(result) for result in results].count(Stale) == 2
    winner = [type(result) for result in results].index(type(None)) + 1
    found = await store.read(record.session_id)
    assert found.fence == fence(2, winner)
    assert set(found.kv_references) == {*record.kv_references, hint}
    with pytest.raises(NotFound):
        await store.raise_epoch("nobody", fence(1), fence(2))


async def test_every_key_expires_and_sooner_once_nobody_follows(store: SessionStore, raw: redis.Redis) -> None:
    record = new_record()
    await store.create(record)
    assert all(900 < seconds <= 1000 for seconds in await expiries(raw, record.session_id))
    await store.commit(name_of(record, PROMPT), outcome_after(PROMPT, (9,)))
    found = await expiries(raw, record.session_id)
    assert len(found) == 5
    assert all(900 < seconds <= 1000 for seconds in found)
    await store.pause(record.session_id, fence(1))
    assert all(0 < seconds <= 100 for seconds in await expiries(raw, record.session_id))
    await store.raise_epoch(record.session_id, fence(1), fence(2))
    assert all(900 < seconds <= 1000 for seconds in await expiries(raw, record.session_id))
    await store.pause(record.session_id, fence(1))  # the old owner has no say
    assert all(900 < seconds <= 1000 for seconds in await expiries(raw, record.session_id))
    await store.end(record.session_id, "cancelled", bytes(16))
    assert all(0 < seconds <= 100 for seconds in await expiries(raw, record.session_id))


async def test_ending_from_outside_fences_the_owner_off(store: SessionStore) -> None:
    record = new_record()
    await store.create(record)
    await store.end(record.session_id, "cancelled", bytes(16))
    await store.end(record.session_id, "cancelled", bytes(16))
    assert (await store.commit(name_of(record, PROMPT), outcome_after(PROMPT, (9,)))).kind == "stale"
    found = await store.read(record.session_id)
    assert (found.ended, found.fence.epoch) == ("cancelled", 2)
    with pytest.raises(Stale, match="ended"):
        await store.raise_epoch(record.session_id, found.fence, fence(3))
    with pytest.raises(NotFound):
        await store.end("nobody", "cancelled", bytes(16))


async def test_what_the_store_lost_is_restored_over_a_beginning_only(store: SessionStore, raw: redis.Redis) -> None:
    record = new_record()
    await store.create(record)
    text = (*PROMPT, 9, 10)
    whole = replace(
        record,
        position=5,
        digest=RunningDigest(text).value,
        token_ids=text,
        log_probs=(-1.0, math.nan),
        kv_references=(),
    )
    await store.restore(whole)
    assert (await store.read(record.session_id)).token_ids == text
    await raw.delete(*keys_of(record.session_id))
    await store.restore(whole)
    assert (await store.read(record.session_id)).token_ids == text
    assert all(seconds > 0 for seconds in await expiries(raw, record.session_id))
    another = (*PROMPT, 9, 11, 12)
    with pytest.raises(DataLoss):
        await store.restore(replace(whole, position=6, token_ids=another))
    await store.raise_epoch(record.session_id, fence(1), fence(2))
    with pytest.raises(Stale):
        await store.restore(whole)


async def test_deleting_leaves_nothing_of_the_text_behind(store: SessionStore, raw: redis.Redis) -> None:
    record = new_record()
    await store.create(record)
    await store.commit(name_of(record, PROMPT), with_joules(outcome_after(PROMPT, (9,)), 0.25, 1.0))
    await store.delete(record.session_id, b"x" * 16)
    assert await raw.exists(*keys_of(record.session_id)) == 1
    stone = await raw.hgetall(keys_of(record.session_id)[0])
    assert {key: stone[key] for key in (b"setup", b"digest", b"stop", b"position")} == {
        b"setup": b"",
        b"digest": b"",
        b"stop": b"",
        b"position": b"0",
    }
    assert all(900 < seconds <= 1000 for seconds in await expiries(raw, record.session_id))
    for gone in (store.read(record.session_id), store.delete(record.session_id, b"y" * 16)):
        with pytest.raises(NotFound):
            await gone


async def test_what_was_deleted_is_not_written_back(store: SessionStore, raw: redis.Redis) -> None:
    record = new_record()
    await store.create(record)
    round_ = name_of(record, PROMPT), outcome_after(PROMPT, (9,))
    await store.commit(*round_)
    whole = await store.read(record.session_id)
    await store.delete(record.session_id, b"x" * 16)
    assert (await store.commit(*round_)).kind == "stale"
    assert (await store.commit(name_of(record, (*PROMPT, 9)), outcome_after((*PROMPT, 9), (10,)))).kind == "stale"
    for writing in (
        store.raise_epoch(record.session_id, record.fence, fence(9)),
        store.restore(whole),
        store.restore(replace(whole, fence=fence(9))),
        store.create(record),
    ):
        with pytest.raises(Stale):
            await writing
    await store.pause(record.session_id, record.fence)
    assert await raw.exists(*keys_of(record.session_id)) == 1


async def test_deleting_what_is_not_there_says_so(store: SessionStore, raw: redis.Redis) -> None:
    with pytest.raises(NotFound):
        await store.delete("nowhere", b"x" * 16)
    assert not await raw.exists(*keys_of("nowhere"))


async def test_a_record_of_another_schema_is_refused(store: SessionStore, raw: redis.Redis) -> None:
    record = new_record()
    await store.create(record)
    await raw.hset(keys_of(record.session_id)[0], "schema", 2)
    with pytest.raises(DataLoss, match="schema 2"):
        await store.read(record.session_id)


async def test_commits_of_many_sessions_go_side_by_side(store: SessionStore) -> None:
    records = [new_record() for _ in range(50)]
    await asyncio.gather(*map(store.create, records))
    answers = await asyncio.gather(
        *(store.commit(name_of(record, PROMPT), outcome_after(PROMPT, (n,))) for n, record in enumerate(records))
    )
    assert {answer.kind for answer in answers} == {"ok"}
    for n, record in enumerate(records):
        assert (await store.read(record.session_id)).token_ids == (*PROMPT, n)


async def test_a_store_that_comes_back_empty_is_taught_its_scripts_again(own_redis: RedisServer) -> None:
    store = SessionStore(own_redis.url, LIFETIMES)
    try:
        await store.create(new_record())
        own_redis.kill()
        with pytest.raises(Unavailable):
            await store.create(new_record())
        with pytest.raises(Unavailable):
            await store.ping()
        own_redis.start()
        await store.ping()
        record = new_record()
        await store.create(record)
        assert await store.read(record.session_id) == record
    finally:
        await store.close()


async def test_flushed_scripts_are_taught_again(redis_url: str) -> None:
    store = SessionStore(redis_url, LIFETIMES)
    client = redis.from_url(redis_url)
    try:
        await store.create(new_record())
        await client.script_flush()
        record = new_record()
        await store.create(record)
        assert await store.read(record.session_id) == record
    finally:
        await client.aclose()
        await store.close()


def test_a_url_of_something_else_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="redis_url"):
        SessionStore("http://127.0.0.1:1", LIFETIMES)


def with_joules(outcome: Outcome, draft: float | None, verify: float | None) -> Outcome:
    return replace(outcome, draft_joules=draft, verify_joules=verify)


async def test_the_energy_of_rounds_is_kept_and_summed(store: SessionStore, raw: redis.Redis) -> None:
    record = new_record()
    await store.create(record)
    text = PROMPT
    for number in range(5):
        outcome = with_joules(outcome_after(text, (9, number)), 0.25, 1.0 + number)
        for _ in range(2):  # what is asked again is not counted again
            await store.commit(name_of(record, text), outcome)
        text += (9, number)
    found = await store.read(record.session_id)
    usage = found.usage().usage(0, 0)
    assert (usage.draft_joules, usage.verify_joules) == (1.25, 15.0)
    assert len(await expiries(raw, record.session_id)) == 6
    assert all(900 < seconds <= 1000 for seconds in await expiries(raw, record.session_id))
    # Written back by another orchestrator, it is the same.
    await raw.delete(*keys_of(record.session_id))
    await store.restore(found)
    assert (await store.read(record.session_id)).rounds == found.rounds
    assert all(seconds > 0 for seconds in await expiries(raw, record.session_id))


@pytest.mark.parametrize("unmeasured", [0, 1, 2])
async def test_a_stored_round_that_was_not_measured_leaves_no_figure(store: SessionStore, unmeasured: int) -> None:
    for draft, verify in ((None, 1.0), (1.0, None), (None, None)):
        record = new_record()
        await store.create(record)
        text = PROMPT
        for number in range(3):
            outcome = outcome_after(text, (9,))
            measured = with_joules(outcome, draft, verify) if number == unmeasured else with_joules(outcome, 1.0, 1.0)
            await store.commit(name_of(record, text), measured)
            text += (9,)
        usage = (await store.read(record.session_id)).usage().usage(0, 0)
        both = draft is None and verify is None
        assert usage.draft_joules == (None if draft is None or both else 3.0)
        assert usage.verify_joules == (None if verify is None or both else 3.0)


async def test_a_session_from_before_energy_was_kept_goes_on_without(store: SessionStore, raw: redis.Redis) -> None:
    record = new_record()
    await store.create(record)
    await store.commit(name_of(record, PROMPT), outcome_after(PROMPT, (9,)))
    assert len(await expiries(raw, record.session_id)) == 5  # as an older version writes it
    text = (*PROMPT, 9)
    await store.commit(name_of(record, text), with_joules(outcome_after(text, (10,)), 1.0, 1.0))
    usage = (await store.read(record.session_id)).usage().usage(0, 0)
    assert usage.completion_tokens == 2
    assert (usage.draft_joules, usage.verify_joules) == (None, None)


async def test_closing_ends_though_the_client_loses_a_cancellation(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SessionStore(redis_url, LIFETIMES)
    exchange = store._scripts._exchange
    under_way = asyncio.Event()

    async def losing(batch: Any) -> None:
        under_way.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        await exchange(batch)

    monkeypatch.setattr(store._scripts, "_exchange", losing)
    reading = asyncio.create_task(store.read("nobody"))
    await under_way.wait()
    async with asyncio.timeout(5):
        await store.close()
        with pytest.raises(NotFound):
            await reading
