"""Replicas that die, refuse, lie or never were: what the client gets all the same."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from tandem.decoding.values import Outcome, RoundName
from tandem.errors import InvalidArgument, OutOfKV, RowFailed, Stale, Unavailable
from tandem.v1 import generation_pb2 as pb
from tests.orchestrator.conftest import SCRIPT, Served, Stage
from tests.support.redis_server import free_port
from tests.support.waiting import until

WHOLE = SCRIPT[:57] + SCRIPT[:3]


async def epoch_of(served: Served, session_id: str) -> int:
    found = await served.stub.GetSession(pb.GetSessionRequest(session_id=session_id))
    return int(found.epoch)


async def test_another_draft_replica_takes_over_from_one_that_dies(stage: Stage) -> None:
    verify, drafts = await stage.verify(), [await stage.draft(), await stage.draft()]
    served = await stage.orchestrator([verify], drafts)
    for draft in drafts:
        draft.round_seconds = 0.01
    reading = asyncio.create_task(served.text(max_tokens=60))
    await until(lambda: sum(draft.num_rounds for draft in drafts) >= 4)
    working, idle = sorted(drafts, key=lambda draft: -draft.num_rounds)
    await working.stop()
    text = await reading
    assert text.token_ids == WHOLE
    assert await epoch_of(served, text.started.session_id) == 2
    assert len(idle.opened) == 1
    assert not verify.opened  # the target never had to decode alone
    assert served.metric("recoveries_total", cause="Unavailable") == 1


async def test_the_target_goes_on_alone_until_a_draft_replica_is_back(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    served = await stage.orchestrator([verify], [draft])
    draft.round_seconds = verify.round_seconds = 0.01
    reading = asyncio.create_task(served.text(max_tokens=150))
    await until(lambda: draft.num_rounds >= 3)
    await draft.stop()
    await until(lambda: verify.num_rounds >= 5)
    drafted = draft.num_rounds
    await draft.restart()
    text = await reading
    assert text.token_ids == (SCRIPT * 3)[:150]
    assert draft.num_rounds > drafted
    assert await epoch_of(served, text.started.session_id) == 3
    # The session stayed at its verify replica, which was not told to forget it.
    assert text.started.session_id not in verify.closed[:-1]


async def test_without_any_draft_replica_the_target_decodes_alone(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify], [f"127.0.0.1:{free_port()}"])
    text = await served.text(method="mmtad")
    assert text.token_ids == SCRIPT[:20]
    assert text.finished.usage.method == "mmtad"
    assert text.finished.usage.num_spec_steps == 0


async def test_a_verify_replica_that_comes_back_is_waited_for(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify])
    verify.round_seconds = 0.01
    reading = asyncio.create_task(served.text(max_tokens=60))
    await until(lambda: verify.num_rounds >= 5)
    await verify.stop()
    await until(lambda: served.metric("num_requests_waiting") == 1)
    await verify.restart()
    assert (await reading).token_ids == WHOLE


async def test_another_verify_replica_of_the_same_target_takes_over(stage: Stage) -> None:
    same, other = await stage.verify(), await stage.verify(weights_digest="other")
    spare = await stage.verify()
    served = await stage.orchestrator([same, spare])
    for verify in (same, spare):
        verify.round_seconds = 0.01
    reading = asyncio.create_task(served.text(max_tokens=60))
    await until(lambda: same.num_rounds + spare.num_rounds >= 5)
    await (same if same.num_rounds else spare).stop()
    assert (await reading).token_ids == WHOLE
    assert not other.opened


async def test_a_session_never_moves_to_another_target(stage: Stage) -> None:
    one, other = await stage.verify(), await stage.verify(weights_digest="other")
    served = await stage.orchestrator([one, other], recovery_timeout=0.3)
    for verify in (one, other):
        verify.round_seconds = 0.01
    reading = asyncio.create_task(served.refusal(max_tokens=60))
    await until(lambda: one.num_rounds + other.num_rounds >= 5)
    working, idle = sorted((one, other), key=lambda verify: -verify.num_rounds)
    await working.stop()
    assert (await reading).code() is grpc.StatusCode.UNAVAILABLE
    assert not idle.opened


async def test_sessions_go_where_the_fewest_are(stage: Stage) -> None:
    verify, drafts = await stage.verify(), [await stage.draft() for _ in range(3)]
    served = await stage.orchestrator([verify], drafts)
    for draft in drafts:
        draft.round_seconds = 0.01
    await asyncio.gather(*(served.text() for _ in range(6)))
    assert [len(draft.opened) for draft in drafts] == [2, 2, 2]


@pytest.mark.parametrize("error", [InvalidArgument("no"), RowFailed("nan"), OutOfKV("full"), Unavailable("draining")])
async def test_what_a_draft_replica_refuses_the_target_does(stage: Stage, error: Exception) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    draft.refusal, draft.refuse_after = error, 0
    served = await stage.orchestrator([verify], [draft])
    text = await served.text()
    assert text.token_ids == SCRIPT[:20]
    assert verify.opened


async def test_a_row_that_fails_at_the_target_fails_its_request_and_no_other(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify])
    verify.round_seconds = 0.01
    neighbour = asyncio.create_task(served.text(max_tokens=60))
    await until(lambda: verify.num_rounds >= 2)
    verify.refusal, verify.refuse_after = RowFailed("non-finite logits"), 5
    error = await served.refusal()
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "non-finite logits"
    assert (await neighbour).token_ids == WHOLE


async def test_no_room_is_tried_again_and_then_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.session.LONGEST_BACKOFF_SECONDS", 0.02)
    verify = await stage.verify()
    verify.refusal = OutOfKV("no free KV blocks")
    served = await stage.orchestrator([verify])
    reading = asyncio.create_task(served.text())
    await until(lambda: len(verify.opened) >= 2)
    verify.refusal = None
    assert (await reading).token_ids == SCRIPT[:20]
    verify.refusal = OutOfKV("no free KV blocks")
    assert (await served.refusal()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_replica_that_saw_a_later_epoch_is_outbid(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify])
    refused = verify.refused

    def fenced(session_id: str, error: Exception) -> object:
        verify.refusal = None
        response = refused(session_id, error)  # type: ignore[arg-type]
        response.refused.highest_epoch = 41
        return response

    verify.refusal, verify.refused = Stale("fenced off"), fenced  # type: ignore[method-assign, assignment]
    text = await served.text()
    assert text.token_ids == SCRIPT[:20]
    assert [run.fence.epoch for run in verify.opened] == [1, 42]


async def test_a_late_refusal_of_an_earlier_lease_ends_no_newer_one(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify])
    refused, judged = verify.refused, verify.judged
    late: list[object] = []

    def fenced(session_id: str, error: Exception) -> object:
        verify.refusal = None
        response = refused(session_id, error)  # type: ignore[arg-type]
        response.refused.highest_epoch = 5
        late.append(response)
        return response

    def judged_after_the_late_one(name: RoundName, outcome: Outcome) -> object:
        return late.pop() if late else judged(name, outcome)

    verify.repeats = 2  # so that the late refusal takes one delivery's place, and nothing is missing
    verify.refusal, verify.refused = Stale("fenced off"), fenced  # type: ignore[method-assign, assignment]
    verify.judged = judged_after_the_late_one  # type: ignore[method-assign]
    assert (await served.text()).token_ids == SCRIPT[:20]
    assert late == []
    assert [run.fence.epoch for run in verify.opened] == [1, 6]


async def test_a_silent_replica_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    verify, drafts = await stage.verify(), [await stage.draft(), await stage.draft()]
    drafts[0].silent = drafts[1].silent = True
    monkeypatch.setattr("orchestrator.session.Patience.silence_seconds", 0.1)
    served = await stage.orchestrator([verify], drafts)
    assert (await served.text()).token_ids == SCRIPT[:20]


async def test_a_replica_that_reports_another_text_is_not_believed(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft()
    made = draft.made

    def wrong(run: object, count: int, num_drafted: int) -> object:
        outcome = made(run, count, num_drafted)  # type: ignore[arg-type]
        return type(outcome)(outcome.token_ids, count - 1, num_drafted, outcome.log_probs, bytes(16))

    draft.made = wrong  # type: ignore[method-assign, assignment]
    served = await stage.orchestrator([verify], [draft])
    text = await served.text()
    assert text.token_ids == SCRIPT[:20]
    assert verify.opened


async def test_a_draft_model_with_another_tokenizer_is_never_paired(stage: Stage) -> None:
    verify, draft = await stage.verify(), await stage.draft(tokenizer_digest="0123456789abcdef")
    served = await stage.orchestrator([verify], [draft])
    error = await served.refusal()
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = str(error.details())
    assert draft.address in details
    assert "another tokenizer" in details
    assert "scripted-draft" in details
    assert (await served.text(method="autoregressive")).token_ids == SCRIPT[:20]
    assert not draft.opened


@pytest.mark.parametrize("change", [{"tokenizer_digest": "other"}, {"drawing_version": 99}, {"protocol_version": 2}])
async def test_a_draft_replica_that_does_not_fit_is_left_aside_for_one_that_does(
    stage: Stage, change: dict[str, object]
) -> None:
    verify, wrong, right = await stage.verify(), await stage.draft(), await stage.draft()
    wrong.description = type(wrong.description)(
        **{name: getattr(wrong.description, name) for name in wrong.description.__slots__} | change
    )
    served = await stage.orchestrator([verify], [wrong, right])
    assert (await served.text()).token_ids == SCRIPT[:20]
    assert (len(wrong.opened), len(right.opened)) == (0, 1)


async def test_an_orchestrator_whose_target_does_not_fit_does_not_start(stage: Stage) -> None:
    verify = await stage.verify(tokenizer_digest="other")
    with pytest.raises(InvalidArgument, match="another tokenizer"):
        await stage.orchestrator([verify])


async def test_without_a_verify_replica_requests_are_refused_in_time(stage: Stage) -> None:
    verify = await stage.verify()
    served = await stage.orchestrator([verify], recovery_timeout=0.2)
    await verify.stop()
    await until(lambda: served.service._placement.verify_links[0].state == "down")
    error = await served.refusal()
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert verify.address in str(error.details())
    # What no replica could do is refused at once all the same.
    assert (await served.refusal(threshold=2.0)).code() is grpc.StatusCode.INVALID_ARGUMENT
    await verify.restart()
    await until(lambda: served.service._placement.verify_links[0].state == "accepted")
    assert (await served.text()).token_ids == SCRIPT[:20]
