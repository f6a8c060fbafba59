"""Messages to values and back.

With the servicers and the client, the only place that touches message fields. Decoding enforces every bound that the
protos state: a value that comes out of here is well formed, and what is not raises `InvalidArgument` before anything
was changed. Whether ids fit the model is checked where the model is known, by `check_token_ids`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import numpy as np

from tandem.decoding.constraint import KINDS, Constraint
from tandem.decoding.values import (
    DIGEST_BYTES,
    MAX_BIASES,
    MAX_DRAFT_LENGTH,
    MAX_NODES,
    MAX_SUPPORT,
    MAX_TOKENS,
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
from tandem.rpc import PROTOCOL_VERSION
from tandem.rpc.log_probs_codec import decode_top, encode_top
from tandem.v1 import types_pb2 as pb

MAX_OUTCOME_TOKENS = 64
MAX_EOS_IDS = 64
MAX_METHODS = 32
MAX_NAME_LENGTH = 4096
"""Of what a service says of itself: a model may be a folder."""

_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidArgument(message)


def check_session_id(session_id: str) -> str:
    """Returns ``session_id`` where it has the form of one."""
    _require(
        _SESSION_ID.fullmatch(session_id) is not None,
        "session_id must be 1 to 128 letters, digits, underscores or hyphens",
    )
    return session_id


def check_digest(digest: bytes) -> bytes:
    """Returns ``digest`` where it is as long as a text's digest."""
    _require(len(digest) == DIGEST_BYTES, f"a text's digest has {len(digest)} bytes; expected {DIGEST_BYTES}")
    return digest


def check_text(token_ids: Sequence[int], what: str = "token_ids") -> list[int]:
    """The ids of a text as a list: 1 to 2**20 of them."""
    _require(1 <= len(token_ids) <= MAX_TOKENS, f"{what} has {len(token_ids)} ids; expected 1 to {MAX_TOKENS}")
    return list(token_ids)


def check_token_ids(token_ids: Sequence[int], vocab_size: int, what: str = "token_ids") -> None:
    """Checks that every id is one of the model's: a row of the logits, none negative."""
    if not len(token_ids):
        return
    highest = max(token_ids)
    _require(highest < vocab_size, f"{what} has id {highest}; this model's ids are below {vocab_size}")
    _require(min(token_ids) >= 0, f"{what} has a negative id")


def check_decoding_ids(decoding: Decoding, vocab_size: int) -> None:
    """Checks that every token a request names is one of the model's."""
    check_token_ids([token for token, _ in decoding.sampling.logit_bias], vocab_size, "logit_bias")
    check_token_ids(decoding.eos_token_ids, vocab_size, "eos_token_ids")


def check_seconds(seconds: float, what: str) -> float:
    """Returns a duration that is finite and not negative."""
    _require(0 <= seconds < float("inf"), f"{what} is {seconds}; expected a finite number of seconds, 0 or more")
    return seconds


def check_joules(joules: float, what: str) -> float:
    """Returns an amount of energy that is finite and not negative."""
    _require(0 <= joules < float("inf"), f"{what} is {joules}; expected a finite number of joules, 0 or more")
    return joules


# ---------------------------------------------------------------------------------------------- what decides a text


def encode_sampling(value: Sampling) -> pb.Sampling:
    """`Sampling` as a message."""
    return pb.Sampling(
        temperature=value.temperature,
        top_k=value.top_k,
        top_p=value.top_p,
        min_p=value.min_p,
        seed=value.seed,
        presence_penalty=value.presence_penalty,
        frequency_penalty=value.frequency_penalty,
        logit_bias=[pb.LogitBias(token_id=token, bias=bias) for token, bias in value.logit_bias],
        constraint=encode_constraint(value.constraint),
    )


def decode_sampling(message: pb.Sampling) -> Sampling:
    """`Sampling` from a message."""
    return Sampling(
        message.temperature,
        message.top_k,
        message.top_p,
        message.min_p,
        message.seed,
        message.presence_penalty,
        message.frequency_penalty,
        decode_logit_bias(message.logit_bias),
        decode_constraint(message.constraint) if message.HasField("constraint") else None,
    )


def encode_constraint(value: Constraint | None) -> pb.Constraint | None:
    """`Constraint` as a message."""
    return None if value is None else pb.Constraint(**{value.kind: value.source})


def decode_constraint(message: pb.Constraint) -> Constraint:
    """`Constraint` from a message."""
    kind = message.WhichOneof("kind")
    _require(kind is not None, f"a constraint is empty; expected one of {', '.join(KINDS)}")
    return Constraint(kind, getattr(message, kind))


def decode_logit_bias(entries: Collection[pb.LogitBias]) -> tuple[tuple[int, float], ...]:
    """The entries of a bias, of which there are not too many; their other bounds are those of `Sampling`."""
    _require(len(entries) <= MAX_BIASES, f"logit_bias has {len(entries)} entries; at most {MAX_BIASES} are accepted")
    return tuple((entry.token_id, entry.bias) for entry in entries)


def encode_speculation(value: Speculation) -> pb.Speculation:
    """`Speculation` as a message."""
    return pb.Speculation(
        method=value.method,
        draft_length=value.draft_length,
        beam_width=value.beam_width,
        threshold=value.threshold,
    )


def decode_speculation(message: pb.Speculation) -> Speculation:
    """`Speculation` from a message."""
    _require(1 <= len(message.method) <= 64, "method must be named, in at most 64 characters")
    return Speculation(message.method, message.draft_length, message.beam_width, message.threshold)


def encode_decoding(value: Decoding) -> pb.Decoding:
    """`Decoding` as a message."""
    return pb.Decoding(
        sampling=encode_sampling(value.sampling),
        speculation=encode_speculation(value.speculation),
        max_position=value.max_position,
        eos_token_ids=value.eos_token_ids,
        ignore_eos=value.ignore_eos,
        trace=value.trace,
        prompt_length=value.prompt_length,
        num_top_log_probs=value.num_top_log_probs,
        cache_salt=value.cache_salt,
    )


def decode_decoding(message: pb.Decoding) -> Decoding:
    """`Decoding` from a message."""
    _require(
        1 <= message.max_position <= MAX_TOKENS,
        f"max_position is {message.max_position}; expected 1 to {MAX_TOKENS}",
    )
    _require(len(message.eos_token_ids) <= MAX_EOS_IDS, f"at most {MAX_EOS_IDS} eos_token_ids are accepted")
    _require(
        0 <= message.prompt_length <= MAX_TOKENS,
        f"prompt_length is {message.prompt_length}; expected 0 to {MAX_TOKENS}",
    )
    return Decoding(
        sampling=decode_sampling(message.sampling),
        speculation=decode_speculation(message.speculation),
        max_position=message.max_position,
        eos_token_ids=tuple(message.eos_token_ids),
        ignore_eos=message.ignore_eos,
        trace=message.trace,
        prompt_length=message.prompt_length,
        num_top_log_probs=message.num_top_log_probs,
        cache_salt=message.cache_salt,
    )


# ------------------------------------------------------------------------------------------------ who, and which text


def encode_fence(value: Fence) -> pb.Fence:
    """`Fence` as a message."""
    return pb.Fence(epoch=value.epoch, nonce=value.nonce)


def decode_fence(message: pb.Fence) -> Fence:
    """`Fence` from a message."""
    _require(message.epoch >= 1, "a fence's epoch counts from 1")
    _require(8 <= len(message.nonce) <= 32, f"a fence's nonce has {len(message.nonce)} bytes; expected 8 to 32")
    return Fence(message.epoch, message.nonce)


def encode_round_name(value: RoundName) -> pb.RoundName:
    """`RoundName` as a message."""
    return pb.RoundName(
        session_id=value.session_id,
        fence=encode_fence(value.fence),
        position=value.position,
        digest=value.digest,
    )


def decode_round_name(message: pb.RoundName) -> RoundName:
    """`RoundName` from a message."""
    _require(1 <= message.position <= MAX_TOKENS, f"a round's position is {message.position}; expected 1 or more")
    return RoundName(
        check_session_id(message.session_id),
        decode_fence(message.fence),
        message.position,
        check_digest(message.digest),
    )


# ------------------------------------------------------------------------------------------------------------ a round


def encode_proposal(value: Proposal) -> pb.Proposal:
    """`Proposal` as a message. Padding of draft distributions (id -1) stays behind."""
    tree = value.tree
    message = pb.Proposal(
        digest=value.digest,
        token_ids=tree.token_ids.tolist(),
        parents=tree.parents.tolist(),
        draft_joint_log_probs=tree.draft_joint_log_probs.tolist(),
        draft_seconds=value.draft_seconds,
        draft_joules=value.draft_joules,
    )
    drawn = value.distributions
    if drawn is not None:
        for node, ids, log_probs in zip(drawn.nodes.tolist(), drawn.ids, drawn.log_probs, strict=True):
            kept = ids >= 0
            message.distributions.add(node=node, token_ids=ids[kept].tolist(), log_probs=log_probs[kept].tolist())
    return message


def decode_proposal(message: pb.Proposal) -> Proposal:
    """`Proposal` from a message."""
    _require(8 <= len(message.digest) <= 32, f"a proposal's digest has {len(message.digest)} bytes; expected 8 to 32")
    _require(len(message.token_ids) <= MAX_NODES, f"a proposal has {len(message.token_ids)} nodes; at most {MAX_NODES}")
    tree = TokenTree(
        np.array(list(message.token_ids), np.int64),
        np.array(list(message.parents), np.int64),
        np.array(list(message.draft_joint_log_probs), np.float64),
    )
    check_seconds(message.draft_seconds, "draft_seconds")
    return Proposal(
        tree,
        _decode_distributions(message),
        message.draft_seconds,
        message.digest,
        check_joules(message.draft_joules, "draft_joules") if message.HasField("draft_joules") else None,
    )


def _decode_distributions(message: pb.Proposal) -> DraftDistributions | None:
    rows = message.distributions
    if not rows:
        return None
    _require(len(rows) <= MAX_NODES, f"{len(rows)} draft distributions; at most {MAX_NODES} are accepted")
    width = max(len(row.token_ids) for row in rows)
    _require(width <= MAX_SUPPORT, f"a draft distribution has a support of {width}; at most {MAX_SUPPORT} are accepted")
    nodes = np.array([row.node for row in rows], np.int64)
    _require(
        bool(np.all((nodes >= -1) & (nodes < len(message.token_ids)))) and len(set(nodes.tolist())) == len(nodes),
        "each draft distribution must name another node of the proposal, or -1 for the root",
    )
    ids = np.full((len(rows), width), -1, np.int64)
    log_probs = np.full((len(rows), width), -np.inf, np.float64)
    for index, row in enumerate(rows):
        count = len(row.token_ids)
        _require(len(row.log_probs) == count, "a draft distribution needs as many log-probabilities as ids")
        _require(len(set(row.token_ids)) == count, "a draft distribution names an id twice")
        ids[index, :count] = row.token_ids
        log_probs[index, :count] = row.log_probs
    _require(bool(np.all(log_probs <= 0)), "a draft distribution's log-probabilities must be numbers, at most 0")
    return DraftDistributions(nodes, ids, log_probs)


def check_proposal_ids(proposal: Proposal, vocab_size: int) -> None:
    """Checks that every id of a proposal, candidates and supports alike, is one of the model's."""
    check_token_ids(proposal.tree.token_ids.tolist(), vocab_size, "the proposal")
    if proposal.distributions is not None and proposal.distributions.ids.size:
        highest = int(proposal.distributions.ids.max())
        _require(
            highest < vocab_size, f"a draft distribution has id {highest}; this model's ids are below {vocab_size}"
        )


def encode_timings(value: StageTimings) -> pb.StageTimings:
    """`StageTimings` as a message."""
    return pb.StageTimings(
        draft_seconds=value.draft_seconds,
        queue_seconds=value.queue_seconds,
        forward_seconds=value.forward_seconds,
        judge_seconds=value.judge_seconds,
        verify_round_trip_seconds=value.verify_round_trip_seconds,
        commit_seconds=value.commit_seconds,
        serialise_seconds=value.serialise_seconds,
        emit_seconds=value.emit_seconds,
    )


def decode_timings(message: pb.StageTimings) -> StageTimings:
    """`StageTimings` from a message."""
    return StageTimings(
        message.draft_seconds,
        message.queue_seconds,
        message.forward_seconds,
        message.judge_seconds,
        message.verify_round_trip_seconds,
        message.commit_seconds,
        message.serialise_seconds,
        message.emit_seconds,
    )


def encode_trace(value: RoundTrace) -> pb.RoundTrace:
    """`RoundTrace` as a message."""
    return pb.RoundTrace(
        token_ids=value.token_ids,
        parents=value.parents,
        draft_joint_log_probs=value.draft_joint_log_probs,
        target_joint_log_probs=value.target_joint_log_probs,
    )


def decode_trace(message: pb.RoundTrace) -> RoundTrace:
    """`RoundTrace` from a message."""
    count = len(message.token_ids)
    _require(count <= MAX_NODES, f"a trace has {count} nodes; at most {MAX_NODES}")
    _require(
        len(message.parents) == count
        and len(message.draft_joint_log_probs) == count
        and len(message.target_joint_log_probs) == count,
        "a trace needs one parent and two joint log-probabilities per token",
    )
    return RoundTrace(
        tuple(message.token_ids),
        tuple(message.parents),
        tuple(message.draft_joint_log_probs),
        tuple(message.target_joint_log_probs),
    )


def encode_outcome(value: Outcome) -> pb.Outcome:
    """`Outcome` as a message."""
    return pb.Outcome(
        token_ids=value.token_ids,
        num_accepted=value.num_accepted,
        num_drafted=value.num_drafted,
        log_probs=value.log_probs,
        next_digest=value.next_digest,
        trace=encode_trace(value.trace) if value.trace is not None else None,
        timings=encode_timings(value.timings),
        proposal_digest=value.proposal_digest,
        num_target_passes=value.num_target_passes,
        draft_joules=value.draft_joules,
        verify_joules=value.verify_joules,
        top_log_probs=encode_top(value.top_log_probs),
    )


def decode_outcome(message: pb.Outcome) -> Outcome:
    """`Outcome` from a message."""
    count = len(message.token_ids)
    _require(count <= MAX_OUTCOME_TOKENS, f"an outcome has {count} tokens; at most {MAX_OUTCOME_TOKENS}")
    _require(
        len(message.log_probs) == count, f"an outcome of {count} tokens has {len(message.log_probs)} log-probabilities"
    )
    _require(0 <= message.num_accepted <= count, f"an outcome of {count} tokens says {message.num_accepted} accepted")
    _require(
        0 <= message.num_drafted <= MAX_DRAFT_LENGTH,
        f"an outcome says {message.num_drafted} drafted; expected 0 to {MAX_DRAFT_LENGTH}",
    )
    passes = message.num_target_passes
    _require(0 <= passes <= MAX_TOKENS, f"an outcome says {passes} target passes; expected 0 to {MAX_TOKENS}")
    _require(not any(map(isnan, message.log_probs)), "an outcome has a log-probability that is not a number")
    return Outcome(
        token_ids=tuple(message.token_ids),
        num_accepted=message.num_accepted,
        num_drafted=message.num_drafted,
        log_probs=tuple(message.log_probs),
        next_digest=check_digest(message.next_digest),
        num_target_passes=message.num_target_passes,
        proposal_digest=message.proposal_digest,
        trace=decode_trace(message.trace) if message.HasField("trace") else None,
        timings=decode_timings(message.timings),
        draft_joules=check_joules(message.draft_joules, "draft_joules") if message.HasField("draft_joules") else None,
        verify_joules=check_joules(message.verify_joules, "verify_joules")
        if message.HasField("verify_joules")
        else None,
        top_log_probs=decode_top(message.top_log_probs, count),
    )


# -------------------------------------------------------------------------------------------------- what a service is

Lifecycle = Literal["starting", "ready", "draining"]

_LIFECYCLES: dict[Lifecycle, pb.Lifecycle] = {
    "starting": pb.LIFECYCLE_STARTING,
    "ready": pb.LIFECYCLE_READY,
    "draining": pb.LIFECYCLE_DRAINING,
}


@dataclass(frozen=True, slots=True)
class Description:
    """What a service says of itself, so that only what fits is paired. Fields as in ``DescribeResponse``."""

    role: str
    instance_id: str
    drawing_version: int
    lifecycle: Lifecycle
    model: str = ""
    weights_digest: str = ""
    tokenizer_digest: str = ""
    vocab_size: int = 0
    max_positions: int = 0
    methods: tuple[str, ...] = ()
    eos_token_ids: tuple[int, ...] = ()
    dtype: str = ""
    num_sessions: int = 0
    num_kv_slots: int = 0
    protocol_version: int = PROTOCOL_VERSION


def encode_description(value: Description) -> pb.DescribeResponse:
    """`Description` as a message."""
    return pb.DescribeResponse(
        role=value.role,
        instance_id=value.instance_id,
        protocol_version=value.protocol_version,
        drawing_version=value.drawing_version,
        lifecycle=_LIFECYCLES[value.lifecycle],
        model=value.model,
        weights_digest=value.weights_digest,
        tokenizer_digest=value.tokenizer_digest,
        vocab_size=value.vocab_size,
        max_positions=value.max_positions,
        methods=value.methods,
        eos_token_ids=value.eos_token_ids,
        dtype=value.dtype,
        num_sessions=value.num_sessions,
        num_kv_slots=value.num_kv_slots,
    )


def decode_description(message: pb.DescribeResponse) -> Description:
    """`Description` from a message.

    Raises:
        InvalidArgument: the peer speaks another version of the contract, or breaks its bounds.
    """
    _require(
        message.protocol_version == PROTOCOL_VERSION,
        f"the peer speaks protocol version {message.protocol_version}; this side speaks {PROTOCOL_VERSION}",
    )
    _require(len(message.methods) <= MAX_METHODS, f"at most {MAX_METHODS} methods are accepted")
    _require(len(message.eos_token_ids) <= MAX_EOS_IDS, f"at most {MAX_EOS_IDS} eos_token_ids are accepted")
    said = (message.role, message.instance_id, message.model, message.dtype, *message.methods)
    longest = max(map(len, (*said, message.weights_digest, message.tokenizer_digest)))
    _require(longest <= MAX_NAME_LENGTH, f"a description has a text of {longest} characters; at most {MAX_NAME_LENGTH}")
    lifecycle = next((name for name, number in _LIFECYCLES.items() if number == message.lifecycle), None)
    if lifecycle is None:
        raise InvalidArgument(f"the peer says it is in life cycle {message.lifecycle}, which does not exist")
    return Description(
        role=message.role,
        instance_id=message.instance_id,
        drawing_version=message.drawing_version,
        lifecycle=lifecycle,
        model=message.model,
        weights_digest=message.weights_digest,
        tokenizer_digest=message.tokenizer_digest,
        vocab_size=message.vocab_size,
        max_positions=message.max_positions,
        methods=tuple(message.methods),
        eos_token_ids=tuple(message.eos_token_ids),
        dtype=message.dtype,
        num_sessions=message.num_sessions,
        num_kv_slots=message.num_kv_slots,
    )
