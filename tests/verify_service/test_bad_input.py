"""What a client may send wrong: refused for its session by name, and nobody else notices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import grpc
import numpy as np
import pytest

from tandem.decoding.values import Decoding
from tandem.rpc.codec import encode_decoding, encode_fence, encode_proposal, encode_round_name
from tandem.v1 import types_pb2, verify_pb2
from tests.support.judging import JudgeClient, draft, judging, name_of, status_of
from tests.support.model_services import (
    MAX_POSITIONS,
    PROMPT,
    TARGET,
    Running,
    decoding,
    fence,
    outcomes_in_one_process,
    verify_replica,
)
from tests.support.tabular import TabularModel

MTAD = decoding("mtad")
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.fixture
async def client() -> AsyncIterator[JudgeClient]:
    """A stream on which the session "good" is open, so that each test can see that it goes on."""
    async with verify_replica() as replica, judging(replica) as client:
        await client.open(PROMPT, MTAD, session_id="good")
        await client.opened()
        yield client


async def neighbour_goes_on(client: JudgeClient) -> None:
    await client.ask(PROMPT, draft(PROMPT, MTAD), session_id="good")
    assert tuple((await client.verdict()).outcome.token_ids) == outcomes_in_one_process(MTAD)[0].token_ids


def _open(change: Callable[[verify_pb2.OpenSequence], None]) -> verify_pb2.OpenSequence:
    message = verify_pb2.OpenSequence(
        session_id="bad", fence=encode_fence(fence()), decoding=encode_decoding(MTAD), token_ids=PROMPT
    )
    change(message)
    return message


def _constrain(message: verify_pb2.OpenSequence) -> None:
    message.decoding.ignore_eos = False
    message.decoding.sampling.constraint.regex = "a"


BAD_OPENS: dict[str, tuple[Callable[[verify_pb2.OpenSequence], object], str]] = {
    "no text": (lambda m: m.ClearField("token_ids"), "token_ids"),
    "an id past the vocabulary": (lambda m: m.token_ids.append(8), "below 8"),
    "the largest id there is": (lambda m: m.token_ids.append(2**32 - 1), "below 8"),
    "a text longer than the model holds": (lambda m: m.token_ids.extend([1] * MAX_POSITIONS), str(MAX_POSITIONS)),
    "an end past what the model holds": (lambda m: setattr(m.decoding, "max_position", 201), str(MAX_POSITIONS)),
    "no end": (lambda m: setattr(m.decoding, "max_position", 0), "max_position"),
    "an unknown method": (lambda m: setattr(m.decoding.speculation, "method", "magic"), "magic"),
    "no method": (lambda m: m.decoding.speculation.ClearField("method"), "method"),
    "a method without a drafter": (lambda m: setattr(m.decoding.speculation, "method", "autoregressive"), "Decode"),
    "temperature -1": (lambda m: setattr(m.decoding.sampling, "temperature", -1), "temperature"),
    "temperature NaN": (lambda m: setattr(m.decoding.sampling, "temperature", float("nan")), "temperature"),
    "top_p 0": (lambda m: setattr(m.decoding.sampling, "top_p", 0), "top_p"),
    "threshold 0": (lambda m: setattr(m.decoding.speculation, "threshold", 0), "threshold"),
    "threshold 2": (lambda m: setattr(m.decoding.speculation, "threshold", 2), "threshold"),
    "draft length 1000": (lambda m: setattr(m.decoding.speculation, "draft_length", 1000), "draft_length"),
    "presence_penalty 3": (lambda m: setattr(m.decoding.sampling, "presence_penalty", 3), "presence_penalty"),
    "frequency_penalty NaN": (
        lambda m: setattr(m.decoding.sampling, "frequency_penalty", float("nan")),
        "frequency_penalty",
    ),
    "a bias past the vocabulary": (lambda m: m.decoding.sampling.logit_bias.add(token_id=8), "logit_bias has id 8"),
    "a bias of 101": (lambda m: m.decoding.sampling.logit_bias.add(token_id=1, bias=101), "logit_bias"),
    "a bias twice": (
        lambda m: m.decoding.sampling.logit_bias.extend([types_pb2.LogitBias(token_id=1)] * 2),
        "logit_bias",
    ),
    "a prompt of negative length": (lambda m: setattr(m.decoding, "prompt_length", -1), "prompt_length"),
    "an empty constraint": (lambda m: m.decoding.sampling.constraint.SetInParent(), "a constraint is empty"),
    "a constraint with ignore_eos": (lambda m: setattr(m.decoding.sampling.constraint, "regex", "a"), "ignore_eos"),
    "a constraint where no tokenizer is": (_constrain, "the model has no tokenizer"),
    "21 log-probabilities": (lambda m: setattr(m.decoding, "num_top_log_probs", 21), "num_top_log_probs"),
    "-1 log-probabilities": (lambda m: setattr(m.decoding, "num_top_log_probs", -1), "num_top_log_probs"),
    "65 end tokens": (lambda m: m.decoding.eos_token_ids.extend([1] * 65), "eos_token_ids"),
    "epoch 0": (lambda m: setattr(m.fence, "epoch", 0), "epoch"),
    "a short nonce": (lambda m: setattr(m.fence, "nonce", b"1234"), "nonce"),
    "a deadline that is not a number": (lambda m: setattr(m, "timeout_seconds", float("nan")), "timeout_seconds"),
}


@pytest.mark.parametrize("case", BAD_OPENS)
async def test_a_bad_open_is_refused_by_name(client: JudgeClient, case: str) -> None:
    change, expected = BAD_OPENS[case]
    await client.send(open=_open(change))  # type: ignore[arg-type]
    refusal = await client.refused()
    assert (refusal.session_id, refusal.code) == ("bad", INVALID)
    assert expected in refusal.message
    await neighbour_goes_on(client)


BAD_IDS = ["", "a b", "x" * 129, "../../etc", "naïve"]


@pytest.mark.parametrize("session_id", BAD_IDS)
async def test_a_bad_session_id_is_refused(client: JudgeClient, session_id: str) -> None:
    await client.send(open=_open(lambda message: setattr(message, "session_id", session_id)))
    assert (await client.refused()).code == INVALID
    await neighbour_goes_on(client)


def _round(change: Callable[[types_pb2.Proposal], object]) -> verify_pb2.JudgeRound:
    message = verify_pb2.JudgeRound(
        name=encode_round_name(name_of(PROMPT, session_id="bad")),
        proposal=encode_proposal(draft(PROMPT, decoding("speculative"))),
        committed_position=len(PROMPT),
    )
    change(message.proposal)
    return message


BAD_PROPOSALS: dict[str, Callable[[types_pb2.Proposal], object]] = {
    "no digest": lambda m: m.ClearField("digest"),
    "distributions of nodes that are not there": lambda m: [
        m.ClearField(name) for name in ("token_ids", "parents", "draft_joint_log_probs")
    ],
    "an id past the vocabulary": lambda m: m.token_ids.__setitem__(0, 8),
    "a parent after its child": lambda m: m.parents.__setitem__(0, 2),
    "a parent before the root": lambda m: m.parents.__setitem__(0, -2),
    "fewer parents than nodes": lambda m: m.parents.pop(),
    "a log-probability that is not a number": lambda m: m.draft_joint_log_probs.__setitem__(0, float("nan")),
    "513 nodes": lambda m: [
        m.token_ids.extend([1] * 513),
        m.parents.extend([-1] * 513),
        m.draft_joint_log_probs.extend([-1.0] * 513),
    ],
    "33 tokens deep": lambda m: [
        m.token_ids.extend([1] * 33),
        m.parents.extend(range(2, 35)),
        m.draft_joint_log_probs.extend([-1.0] * 33),
    ],
    "a support past the vocabulary": lambda m: m.distributions[0].token_ids.__setitem__(0, 8),
    "a support of 65": lambda m: [
        m.distributions[0].token_ids.extend(range(100, 165)),
        m.distributions[0].log_probs.extend([-1.0] * 65),
    ],
    "a support without probabilities": lambda m: m.distributions[0].log_probs.pop(),
    "a distribution of no node": lambda m: setattr(m.distributions[0], "node", 9),
    "one node's distribution twice": lambda m: m.distributions.append(m.distributions[0]),
    "a probability over 1": lambda m: m.distributions[0].log_probs.__setitem__(0, 0.5),
}


@pytest.mark.parametrize("case", BAD_PROPOSALS)
async def test_a_bad_proposal_is_refused_and_its_session_goes_on(client: JudgeClient, case: str) -> None:
    decode = decoding("speculative")
    await client.open(PROMPT, decode, session_id="bad")
    await client.opened()
    await client.send(round=_round(BAD_PROPOSALS[case]))
    refusal = await client.refused()
    assert (refusal.session_id, refusal.code) == ("bad", INVALID)
    await neighbour_goes_on(client)
    await client.ask(PROMPT, draft(PROMPT, decode), session_id="bad")
    assert tuple((await client.verdict()).outcome.token_ids) == outcomes_in_one_process(decode)[0].token_ids


async def test_a_proposal_without_what_its_method_judges_by_is_refused(client: JudgeClient) -> None:
    decode = decoding("speculative")
    await client.open(PROMPT, decode, session_id="bad")
    await client.opened()
    await client.ask(PROMPT, replace(draft(PROMPT, decode), distributions=None), session_id="bad")
    assert (await client.refused()).code == INVALID
    await neighbour_goes_on(client)


async def test_a_text_that_has_ended_is_not_judged_further(client: JudgeClient) -> None:
    ended: Decoding = decoding("mtad", max_position=4)
    await client.open(PROMPT, ended, session_id="bad")
    await client.opened()
    await client.ask(PROMPT, draft(PROMPT, ended), session_id="bad")
    text = [*PROMPT, *(await client.verdict()).outcome.token_ids]
    await client.ask(text, draft(text, MTAD), session_id="bad")
    refusal = await client.refused()
    assert refusal.code == INVALID
    assert "ended" in refusal.message
    await neighbour_goes_on(client)


async def test_a_message_without_a_body_ends_its_stream_only(client: JudgeClient) -> None:
    await client.send()
    assert await status_of(client.call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_row_of_numbers_that_are_not_finite_fails_alone() -> None:
    broken = TARGET.copy()
    broken[:, 5] = np.nan  # whatever follows token 5
    async with verify_replica(model=TabularModel(broken)) as replica, judging(replica) as client:
        await client.open([1, 5], MTAD, session_id="bad")
        await client.opened()
        await client.ask([1, 5], draft([1, 5], MTAD), session_id="bad")
        refusal = await client.refused()
        assert (refusal.session_id, refusal.code) == ("bad", grpc.StatusCode.INTERNAL.value[0])
        await client.open([1, 2], decoding("mtad", max_position=4), session_id="good")
        await client.opened()
        await client.nothing_comes("sentinel", MTAD)


async def test_a_pool_too_small_for_one_text_refuses_that_text(replica_of_ten_slots: Running) -> None:
    long = [1, 2, 3, 4] * 5
    async with judging(replica_of_ten_slots) as client:
        await client.open(long, MTAD, session_id="bad")
        await client.opened()
        await client.ask(long, draft(long, MTAD), session_id="bad")
        refusal = await client.refused()
        assert (refusal.session_id, refusal.code) == ("bad", grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
        await client.open(PROMPT, MTAD, session_id="good")
        await client.opened()
        await neighbour_goes_on(client)


@pytest.fixture
async def replica_of_ten_slots() -> AsyncIterator[Running]:
    async with verify_replica(model=TabularModel(TARGET, capacity=10)) as running:
        yield running
