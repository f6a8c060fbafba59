"""Values go over the wire and come back the same, to the last bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.decoding.constraint import KINDS, Constraint
from tandem.decoding.values import (
    EMPTY_TREE,
    Decoding,
    DraftDistributions,
    Fence,
    Outcome,
    Proposal,
    RoundName,
    RoundTrace,
    Sampling,
    Speculation,
    StageTimings,
    TokenTree,
)
from tandem.errors import InvalidArgument
from tandem.rpc import codec
from tandem.rpc.codec import Description

floats = st.floats(allow_nan=False)
seconds = st.floats(0, 1e6)
ids = st.integers(0, 2**32 - 1)

samplings = st.builds(
    Sampling,
    temperature=st.floats(0, 10),
    top_k=st.integers(0, 1_000_000),
    top_p=st.floats(0, 1, exclude_min=True),
    min_p=st.floats(0, 1),
    seed=st.integers(0, 2**64 - 1),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.dictionaries(ids, st.floats(-100, 100), max_size=5).map(lambda given: tuple(given.items())),
)
constraints = st.builds(Constraint, st.sampled_from(KINDS), st.text(st.characters(codec="utf-8"), min_size=1))
speculations = st.builds(
    Speculation,
    method=st.sampled_from(["mtad", "coupled", "autoregressive"]),
    draft_length=st.integers(1, 32),
    beam_width=st.integers(1, 16),
    threshold=st.floats(0, 1, exclude_min=True, exclude_max=True),
)
decodings = st.builds(
    Decoding,
    sampling=samplings,
    speculation=speculations,
    max_position=st.integers(1, 1 << 20),
    eos_token_ids=st.lists(ids, max_size=64).map(tuple),
    ignore_eos=st.booleans(),
    trace=st.booleans(),
    prompt_length=st.integers(0, 1 << 20),
    num_top_log_probs=st.integers(0, 20),
    cache_salt=st.binary(max_size=64),
)
fences = st.builds(Fence, st.integers(1, 2**64 - 1), st.binary(min_size=8, max_size=32))
names = st.builds(
    RoundName,
    session_id=st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True),
    fence=fences,
    position=st.integers(1, 1 << 20),
    digest=st.binary(min_size=16, max_size=16),
)
timings = st.builds(StageTimings, *[seconds] * 6)
joules = st.none() | st.floats(0, 1e9)


@st.composite
def traces(draw: st.DrawFn) -> RoundTrace:
    count = draw(st.integers(0, 6))
    some = st.lists(floats, min_size=count, max_size=count).map(tuple)
    tokens = st.lists(ids, min_size=count, max_size=count).map(tuple)
    return RoundTrace(draw(tokens), tuple(range(-1, count - 1)), draw(some), draw(some))


tops = st.lists(st.tuples(ids, floats), max_size=20).map(tuple)


@st.composite
def outcomes(draw: st.DrawFn) -> Outcome:
    tokens = draw(st.lists(ids, max_size=64))
    return Outcome(
        token_ids=tuple(tokens),
        num_accepted=draw(st.integers(0, len(tokens))),
        num_drafted=draw(st.integers(0, 32)),
        log_probs=tuple(draw(st.lists(floats, min_size=len(tokens), max_size=len(tokens)))),
        next_digest=draw(st.binary(min_size=16, max_size=16)),
        num_target_passes=draw(st.integers(0, 64)),
        proposal_digest=draw(st.binary(max_size=32)),
        trace=draw(st.none() | traces()),
        timings=draw(timings),
        draft_joules=draw(joules),
        verify_joules=draw(joules),
        top_log_probs=draw(st.just(()) | st.tuples(*[tops] * len(tokens))),
    )


@given(samplings, constraints)
def test_constraints(sampling: Sampling, constraint: Constraint) -> None:
    held = replace(sampling, constraint=constraint)
    assert codec.decode_sampling(codec.encode_sampling(held)) == held


@given(decodings)
def test_decoding(value: Decoding) -> None:
    assert codec.decode_decoding(codec.encode_decoding(value)) == value


@given(names)
def test_round_name(value: RoundName) -> None:
    assert codec.decode_round_name(codec.encode_round_name(value)) == value


@given(outcomes())
def test_outcome(value: Outcome) -> None:
    assert codec.decode_outcome(codec.encode_outcome(value)) == value


@pytest.mark.parametrize(
    "changes",
    [
        {"num_drafted": -1},
        {"num_drafted": 33},
        {"num_accepted": -1},
        {"num_accepted": 3},
        {"num_target_passes": -1},
        {"num_target_passes": 2**31 - 1},
        {"log_probs": [math.nan, -1.0]},
        {"log_probs": [-1.0]},
        {"next_digest": b"short"},
    ],
)
def test_an_outcome_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    good = codec.encode_outcome(Outcome((3, 4), 1, 4, (-0.5, -1.0), bytes(16)))
    codec.decode_outcome(good)
    for name, value in changes.items():
        good.ClearField(name)
        if isinstance(value, list):
            getattr(good, name).extend(value)
        else:
            setattr(good, name, value)
    with pytest.raises(InvalidArgument):
        codec.decode_outcome(good)


def test_a_description_out_of_bounds_is_refused() -> None:
    good = codec.encode_description(codec.Description("verify", "a", 1, "ready"))
    good.model = "x" * 4097
    with pytest.raises(InvalidArgument, match="at most 4096"):
        codec.decode_description(good)


def test_a_proposal_comes_back_with_its_distributions() -> None:
    tree = TokenTree(np.array([3, 4, 5]), np.array([-1, -1, 0]), np.array([-0.5, -math.inf, -1.25]))
    drawn = DraftDistributions(
        np.array([-1, 0]), np.array([[3, 4], [5, -1]]), np.array([[-0.7, -0.7], [0.0, -math.inf]])
    )
    proposal = Proposal(tree, drawn, 0.25, b"12345678", 1.5)
    message = codec.encode_proposal(proposal)
    assert [list(row.token_ids) for row in message.distributions] == [[3, 4], [5]]
    back = codec.decode_proposal(message)
    assert (back.digest, back.draft_seconds, back.draft_joules) == (b"12345678", 0.25, 1.5)
    for name in ("token_ids", "parents", "draft_joint_log_probs"):
        np.testing.assert_array_equal(getattr(back.tree, name), getattr(tree, name))
    assert back.distributions is not None
    for name in ("nodes", "ids", "log_probs"):
        np.testing.assert_array_equal(getattr(back.distributions, name), getattr(drawn, name))


def test_a_proposal_may_be_empty() -> None:
    back = codec.decode_proposal(codec.encode_proposal(Proposal(EMPTY_TREE, None, 0.25, b"12345678")))
    assert (back.tree.depth, back.distributions, back.draft_seconds, back.digest) == (0, None, 0.25, b"12345678")


def test_an_amount_of_energy_is_finite_and_not_negative() -> None:
    for amount in (math.nan, math.inf, -1.0):
        for field in ("draft_joules", "verify_joules"):
            value = replace(Outcome((), 0, 0, (), bytes(16)), **{field: amount})  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument, match=field):
                codec.decode_outcome(codec.encode_outcome(value))
        proposal = Proposal(TokenTree(np.array([3]), np.array([-1]), np.array([-0.5])), None, 0.0, bytes(8), amount)
        with pytest.raises(InvalidArgument, match="draft_joules"):
            codec.decode_proposal(codec.encode_proposal(proposal))


DESCRIPTION = Description(
    role="verify",
    instance_id="abc",
    drawing_version=1,
    lifecycle="draining",
    model="m",
    weights_digest="00",
    tokenizer_digest="11",
    vocab_size=8,
    max_positions=64,
    methods=("mtad",),
    eos_token_ids=(0, 7),
    dtype="float32",
    num_sessions=2,
    num_kv_slots=128,
)


def test_description() -> None:
    assert codec.decode_description(codec.encode_description(DESCRIPTION)) == DESCRIPTION


def test_a_peer_of_another_contract_is_refused() -> None:
    message = codec.encode_description(replace(DESCRIPTION, protocol_version=2))
    with pytest.raises(InvalidArgument, match="protocol version 2"):
        codec.decode_description(message)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_is_a_value(noise: bytes) -> None:
    """Whatever parses as a message is a value within its bounds or an `InvalidArgument`; never another error."""
    from google.protobuf.message import DecodeError

    from tandem.v1 import types_pb2

    for kind, decode in (
        (types_pb2.Decoding, codec.decode_decoding),
        (types_pb2.Proposal, codec.decode_proposal),
        (types_pb2.Outcome, codec.decode_outcome),
        (types_pb2.RoundName, codec.decode_round_name),
    ):
        try:
            message = kind.FromString(noise)
        except DecodeError:
            continue
        try:
            decode(message)  # type: ignore[operator]
        except InvalidArgument:
            continue
