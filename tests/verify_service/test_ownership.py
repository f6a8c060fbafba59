"""Fences, takeovers, lost streams: nobody works for an owner of old, and no answer is lost with a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from tandem.rpc.codec import decode_outcome
from tests.support.judging import draft, judging
from tests.support.model_services import PROMPT, Running, decoding, fence, outcomes_in_one_process, verify_replica
from verify_service.sessions import Limits

MTAD = decoding("mtad")
FENCED_OFF = grpc.StatusCode.FAILED_PRECONDITION.value[0]


@pytest.fixture
async def replica() -> AsyncIterator[Running]:
    async with verify_replica() as running:
        yield running


async def test_an_older_epoch_is_refused_and_told_the_highest(replica: Running) -> None:
    async with judging(replica) as client:
        await client.open(PROMPT, MTAD, fence(5))
        await client.opened()
        await client.open(PROMPT, MTAD, fence(4))
        refusal = await client.refused()
        assert (refusal.code, refusal.highest_epoch) == (FENCED_OFF, 5)
        await client.ask(PROMPT, draft(PROMPT, MTAD), fence(4))
        assert (await client.refused()).code == FENCED_OFF
        await client.ask(PROMPT, draft(PROMPT, MTAD), fence(5))
        await client.verdict()


async def test_two_owners_of_one_epoch_are_told_apart(replica: Running) -> None:
    async with judging(replica) as client:
        await client.open(PROMPT, MTAD, fence(1, "a"))
        await client.opened()
        await client.open(PROMPT, MTAD, fence(1, "b"))
        refusal = await client.refused()
        assert (refusal.code, refusal.highest_epoch) == (FENCED_OFF, 1)


async def test_a_fence_outlives_the_session(replica: Running) -> None:
    ended = decoding("mtad", max_position=4)
    async with judging(replica) as client:
        await client.open(PROMPT, ended, fence(3))
        await client.opened()
        await client.ask(PROMPT, draft(PROMPT, ended), fence(3))
        await client.verdict()
        await client.close(fence(3))
        await client.open(PROMPT, ended, fence(2))
        refusal = await client.refused()
        assert (refusal.code, refusal.highest_epoch) == (FENCED_OFF, 3)


async def test_opening_again_changes_nothing(replica: Running) -> None:
    async with judging(replica) as client:
        await client.open(PROMPT, MTAD)
        await client.opened()
        await client.ask(PROMPT, draft(PROMPT, MTAD))
        first = await client.verdict()
        await client.open(PROMPT, MTAD)
        assert (await client.opened()).cached_position > 0
        await client.ask(PROMPT, draft(PROMPT, MTAD))
        again = await client.verdict()
        assert again.repeated_answer
        assert again.outcome == first.outcome


async def test_the_decoding_parameters_of_a_session_do_not_change(replica: Running) -> None:
    async with judging(replica) as client:
        await client.open(PROMPT, MTAD)
        await client.opened()
        await client.open(PROMPT, decoding("mtad", seed=6))
        assert (await client.refused()).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_a_lost_verdict_is_repeated_to_whoever_takes_over(replica: Running) -> None:
    expected = outcomes_in_one_process(MTAD)
    text = list(PROMPT)
    async with judging(replica) as lost:
        await lost.open(text, MTAD)
        await lost.opened()
        for _ in range(2):  # both are judged, neither is committed: the owner dies with the answers
            await lost.ask(text, draft(text, MTAD), committed=len(PROMPT))
            text += (await lost.verdict()).outcome.token_ids
    async with judging(replica) as heir:
        await heir.open(PROMPT, MTAD, fence(2, "b"))
        assert (await heir.opened()).cached_position > 0
        text = list(PROMPT)
        for index, outcome in enumerate(expected[:4]):
            await heir.ask(text, draft(text, MTAD), fence(2, "b"))
            verdict = await heir.verdict()
            assert verdict.repeated_answer == (index < 2)
            assert decode_outcome(verdict.outcome).token_ids == outcome.token_ids
            text += verdict.outcome.token_ids


async def test_an_heir_with_another_proposal_gets_the_outcome_that_was_lost(replica: Running) -> None:
    first = outcomes_in_one_process(MTAD)[0]
    async with judging(replica) as lost:
        await lost.open(PROMPT, MTAD)
        await lost.opened()
        await lost.ask(PROMPT, draft(PROMPT, MTAD))
        await lost.verdict()
    async with judging(replica) as heir:
        await heir.open(PROMPT, MTAD, fence(2, "b"))
        await heir.opened()
        await heir.ask(PROMPT, draft(PROMPT, decoding("mtad", seed=77)), fence(2, "b"))
        verdict = await heir.verdict()
        assert verdict.superseded
        assert tuple(verdict.outcome.token_ids) == first.token_ids


async def test_an_heir_whose_text_took_another_way_is_judged_on_its_own_text(replica: Running) -> None:
    other = [1, 2, 6, 5]
    async with judging(replica) as lost:
        await lost.open(PROMPT, MTAD)
        await lost.opened()
        await lost.ask(PROMPT, draft(PROMPT, MTAD))
        await lost.verdict()
    async with judging(replica) as heir:
        await heir.open(other, MTAD, fence(2, "b"))
        await heir.opened()
        await heir.ask(other, draft(other, MTAD), fence(2, "b"))
        verdict = await heir.verdict()
        assert tuple(verdict.outcome.token_ids) == outcomes_in_one_process(MTAD, other)[0].token_ids


async def test_a_text_ahead_is_cut_back_where_no_verdict_is_kept(replica: Running) -> None:
    """Opened with a text inside a round: nothing is kept that begins there, so that it is judged anew."""
    first = outcomes_in_one_process(MTAD)[0]
    middle = [*PROMPT, first.token_ids[0]]
    async with judging(replica) as lost:
        await lost.open(PROMPT, MTAD)
        await lost.opened()
        await lost.ask(PROMPT, draft(PROMPT, MTAD))
        await lost.verdict()
    async with judging(replica) as heir:
        await heir.open(middle, MTAD, fence(2, "b"))
        await heir.opened()
        await heir.ask(middle, draft(middle, MTAD), fence(2, "b"))
        verdict = await heir.verdict()
        assert not verdict.repeated_answer
        assert tuple(verdict.outcome.token_ids) == outcomes_in_one_process(MTAD, middle)[0].token_ids


async def test_the_former_owner_is_told_that_it_lost_the_session(replica: Running) -> None:
    async with judging(replica) as former, judging(replica) as heir:
        await former.open(PROMPT, MTAD)
        await former.opened()
        await heir.open(PROMPT, MTAD, fence(2, "b"))
        await heir.opened()
        refusal = await former.refused()
        assert (refusal.code, refusal.highest_epoch) == (FENCED_OFF, 2)


async def test_a_round_before_the_watermark_is_refused(replica: Running) -> None:
    text = list(PROMPT)
    async with judging(replica) as client:
        await client.open(text, MTAD)
        await client.opened()
        for _ in range(6):  # more than are kept
            await client.ask(text, draft(text, MTAD))
            text += (await client.verdict()).outcome.token_ids
        await client.ask(PROMPT, draft(PROMPT, MTAD))
        assert (await client.refused()).code == FENCED_OFF


async def test_idle_sessions_are_bounded_and_the_oldest_give_way() -> None:
    async with verify_replica(Limits(max_idle=2)) as replica, judging(replica) as client:
        for index in range(3):
            await client.open(PROMPT, MTAD, session_id=f"s{index}")
            await client.opened()
            await client.ask(PROMPT, draft(PROMPT, MTAD), session_id=f"s{index}")
            await client.verdict()
            await client.close(session_id=f"s{index}")
        known = []
        for index in range(3):
            await client.open(PROMPT, MTAD, session_id=f"s{index}")
            await client.opened()
            await client.ask(PROMPT, draft(PROMPT, MTAD), session_id=f"s{index}")
            known.append((await client.verdict()).repeated_answer)
        assert known == [False, True, True]


async def test_more_sessions_than_are_served_are_refused_for_now() -> None:
    async with verify_replica(Limits(max_sessions=1)) as replica, judging(replica) as client:
        await client.open(PROMPT, MTAD)
        await client.opened()
        await client.open(PROMPT, MTAD, session_id="t")
        refusal = await client.refused()
        assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert refusal.retry_after_seconds > 0
        await client.ask(PROMPT, draft(PROMPT, MTAD))
        await client.verdict()
