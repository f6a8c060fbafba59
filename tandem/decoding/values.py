"""What decides a text, and what a round says: the values that every layer passes on.

All are frozen. Token ids are plain ints in tuples where they belong to a text, and int64 arrays where mathematics is
done on them. Bounds are checked on construction, so a value that exists is a value that can be served.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from tandem.decoding.constraint import Constraint
from tandem.errors import InvalidArgument

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_DRAFT_LENGTH = 32
MAX_BEAM_WIDTH = 16
MAX_NODES = MAX_DRAFT_LENGTH * MAX_BEAM_WIDTH
MAX_SUPPORT = 64
MAX_TOKENS = 1 << 20
MAX_BIASES = 1024
MAX_TOP_LOG_PROBS = 20
MAX_SALT_BYTES = 64
MAX_TOP_ENTRIES = 1 << 21
"""Of all tokens of a text together, so that they fit a message."""
_MAX_TOKEN_ID = (1 << 32) - 1
DIGEST_BYTES = 16

TopLogProbs = tuple[tuple[int, float], ...]
"""The most probable tokens at one place of a text, under the model as it gives them: (token id, log-probability),
falling, ties by rising id."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidArgument(message)


def check_num_top(num_top_log_probs: int) -> None:
    """Raises `InvalidArgument` for a number of most probable tokens that is never told."""
    if not 0 <= num_top_log_probs <= MAX_TOP_LOG_PROBS:
        raise InvalidArgument(
            f"num_top_log_probs is {num_top_log_probs}; expected 0 to {MAX_TOP_LOG_PROBS}", "num_top_log_probs"
        )


def check_top_entries(num_tokens: int, num_top_log_probs: int) -> None:
    """Raises `InvalidArgument` where the most probable tokens of a text of that length are too many to be told."""
    check_num_top(num_top_log_probs)
    if num_tokens * num_top_log_probs > MAX_TOP_ENTRIES:
        raise InvalidArgument(
            f"num_top_log_probs is {num_top_log_probs}, of {num_tokens} tokens; expected at most {MAX_TOP_ENTRIES} in "
            "all: ask for fewer, or for a shorter text",
            "num_top_log_probs",
        )


@dataclass(frozen=True, slots=True)
class Sampling:
    """How next-token distributions are warped, and the draws' seed.

    In this order: penalties and bias, which adjust the logits of single tokens; the constraint, which forbids tokens;
    temperature; top-k; top-p; min-p.
    ``top_k=0``, ``top_p=1`` and ``min_p=0`` are off, as are penalties of 0; ``temperature=0`` is greedy.
    """

    temperature: float = 1.0
    top_k: int = 10
    top_p: float = 0.9
    min_p: float = 0.0
    seed: int = 0
    presence_penalty: float = 0.0
    """Taken from the logit of each token that was generated before, however often."""
    frequency_penalty: float = 0.0
    """Taken from the logit of each token that was generated before, as often as it was."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """(token id, what is added to its logit), each token once."""
    constraint: Constraint | None = None
    """What the generated text must match."""

    def __post_init__(self) -> None:
        _require(0 <= self.temperature <= 10, f"temperature is {self.temperature}; expected 0 (greedy) to 10")
        _require(0 <= self.top_k <= 1_000_000, f"top_k is {self.top_k}; expected 0 (off) to 1000000")
        _require(0 < self.top_p <= 1, f"top_p is {self.top_p}; expected more than 0, up to 1 (off)")
        _require(0 <= self.min_p <= 1, f"min_p is {self.min_p}; expected 0 (off) to 1")
        _require(0 <= self.seed < 1 << 64, f"seed is {self.seed}; expected 0 to 2**64 - 1")
        for name, penalty in (("presence", self.presence_penalty), ("frequency", self.frequency_penalty)):
            _require(-2 <= penalty <= 2, f"{name}_penalty is {penalty}; expected -2 to 2 (0 is off)")
        if self.logit_bias:
            self._check_logit_bias()

    def _check_logit_bias(self) -> None:
        count = len(self.logit_bias)
        _require(count <= MAX_BIASES, f"logit_bias has {count} entries; at most {MAX_BIASES} are accepted")
        for token, bias in self.logit_bias:
            _require(0 <= token <= _MAX_TOKEN_ID, f"logit_bias names token {token}; expected 0 to {_MAX_TOKEN_ID}")
            _require(-100 <= bias <= 100, f"logit_bias of token {token} is {bias}; expected -100 to 100")
        _require(len(dict(self.logit_bias)) == count, "logit_bias names a token twice; expected one bias each")


@dataclass(frozen=True, slots=True)
class Speculation:
    """The decoding method by name, and its dials."""

    method: str = "mtad"
    draft_length: int = 4
    beam_width: int = 4
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _require(
            1 <= self.draft_length <= MAX_DRAFT_LENGTH,
            f"draft_length is {self.draft_length}; expected 1 to {MAX_DRAFT_LENGTH}",
        )
        _require(
            1 <= self.beam_width <= MAX_BEAM_WIDTH, f"beam_width is {self.beam_width}; expected 1 to {MAX_BEAM_WIDTH}"
        )
        _require(0 < self.threshold < 1, f"threshold is {self.threshold}; expected more than 0 and less than 1")


@dataclass(frozen=True, slots=True)
class Decoding:
    """All that decides a session's text beside the two models. Never changes within a session."""

    sampling: Sampling
    speculation: Speculation
    max_position: int
    """Number of tokens, prompt included, at which the text ends."""
    eos_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    trace: bool = False
    prompt_length: int = 0
    """Number of leading tokens that were given, not generated: penalties and constraint pass them over."""
    num_top_log_probs: int = 0
    """How many of the most probable tokens are told with each that is generated."""
    cache_salt: bytes = b""
    """KV of the same tokens is shared between sessions of the same salt. Decides nothing of the text."""

    def __post_init__(self) -> None:
        check_num_top(self.num_top_log_probs)
        if len(self.cache_salt) > MAX_SALT_BYTES:
            long = f"cache_salt has {len(self.cache_salt)} bytes; expected at most {MAX_SALT_BYTES}"
            raise InvalidArgument(long, "cache_salt")
        if self.sampling.constraint is not None:
            kind = self.sampling.constraint.kind
            if self.ignore_eos:
                why = f"ignore_eos cannot be served with {kind}: nothing follows a text that matches"
                raise InvalidArgument(why, "ignore_eos")
            if not self.eos_token_ids:
                raise InvalidArgument(f"{kind} cannot be served: this model has no end token to end a text with", kind)

    def end_index(self, token_ids: Sequence[int]) -> int | None:
        """Index of the first of ``token_ids`` that ends the text, or None."""
        if self.ignore_eos:
            return None
        return next((index for index, token in enumerate(token_ids) if token in self.eos_token_ids), None)


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Candidates for the next tokens, in order of depth; siblings stand in the order in which they were drawn."""

    token_ids: Ids  # [nodes]
    parents: Ids  # [nodes], -1 is the last token of the text
    draft_joint_log_probs: Floats  # [nodes], warped, of the path from the root to the node
    depths: Ids = field(init=False, repr=False, compare=False)  # [nodes]; children of the root have depth 1

    def __post_init__(self) -> None:
        count = len(self.token_ids)
        _require(count <= MAX_NODES, f"a proposal has {count} nodes; at most {MAX_NODES} are accepted")
        _require(
            len(self.parents) == count and len(self.draft_joint_log_probs) == count,
            f"a proposal of {count} tokens has {len(self.parents)} parents and "
            f"{len(self.draft_joint_log_probs)} joint log-probabilities; expected one of each per token",
        )
        depths: list[int] = []
        for index, parent in enumerate(self.parents.tolist()):
            if not -1 <= parent < index:
                raise InvalidArgument("a node's parent must stand before it (or be -1, the root)")
            depths.append(1 if parent < 0 else depths[parent] + 1)
        _require(depths == sorted(depths), "nodes must stand in order of depth")
        _require(
            not depths or depths[-1] <= MAX_DRAFT_LENGTH,
            f"a proposal is {depths[-1] if depths else 0} tokens deep; at most {MAX_DRAFT_LENGTH} are accepted",
        )
        _require(not np.isnan(self.draft_joint_log_probs).any(), "a joint log-probability is not a number")
        object.__setattr__(self, "depths", np.array(depths, np.int64))

    @property
    def depth(self) -> int:
        """Depth of the deepest node; 0 without nodes."""
        return int(self.depths[-1]) if len(self.depths) else 0

    @property
    def is_chain(self) -> bool:
        """Whether the candidates are one sequence."""
        return self.depth == len(self.depths)

    def path(self, node: int) -> tuple[int, ...]:
        """Nodes from the root's child down to ``node``; empty for -1."""
        nodes: list[int] = []
        while node >= 0:
            nodes.append(node)
            node = int(self.parents[node])
        return tuple(reversed(nodes))


EMPTY_TREE = TokenTree(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


@dataclass(frozen=True, slots=True)
class DraftDistributions:
    """What children were drawn from: the warped draft distribution at some nodes, cut to its support.

    ``nodes[i]`` is the node (-1 the root) whose children were drawn from row i; rows are padded with id -1 and
    log-probability -inf.
    """

    nodes: Ids  # [rows]
    ids: Ids  # [rows, width]
    log_probs: Floats  # [rows, width]

    def __post_init__(self) -> None:
        _require(len(self.nodes) <= MAX_NODES + 1, f"{len(self.nodes)} draft distributions; at most {MAX_NODES}")
        _require(
            self.ids.shape == self.log_probs.shape and self.ids.shape[0] == len(self.nodes),
            "draft distributions need as many log-probabilities as ids, and one row per node",
        )
        _require(
            self.ids.shape[1] <= MAX_SUPPORT,
            f"a draft distribution has a support of {self.ids.shape[1]}; at most {MAX_SUPPORT} are accepted",
        )


@dataclass(frozen=True, slots=True)
class Proposal:
    """A token tree as drafted for one round, with what its judgement needs."""

    tree: TokenTree
    distributions: DraftDistributions | None = None
    draft_seconds: float = 0.0
    digest: bytes = b""
    """Names this proposal among others for its round."""
    draft_joules: float | None = None
    """Its share of the energy of drafting; None where not measured."""


@dataclass(frozen=True, slots=True)
class RoundTrace:
    """A round in detail: the nodes judged and their warped joint log-probabilities under both models."""

    token_ids: tuple[int, ...]
    parents: tuple[int, ...]
    draft_joint_log_probs: tuple[float, ...]
    target_joint_log_probs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StageTimings:
    """Where a round's time went, in seconds."""

    draft_seconds: float = 0.0
    queue_seconds: float = 0.0
    forward_seconds: float = 0.0
    judge_seconds: float = 0.0
    verify_round_trip_seconds: float = 0.0
    commit_seconds: float = 0.0
    serialise_seconds: float = 0.0
    """The proposal to a message and back, and reading the verdict's; part of the round trip."""
    emit_seconds: float = 0.0
    """From the commit until the round is written to the client."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round did to the text: the accepted drafted tokens, then what the target added."""

    token_ids: tuple[int, ...]
    num_accepted: int
    num_drafted: int
    """Depth of the proposal; 0 when the target decoded alone, or the proposal was empty."""
    log_probs: tuple[float, ...]
    """Of each token under the target, unwarped."""
    next_digest: bytes = b""
    """Running digest of the text after these tokens."""
    num_target_passes: int = 1
    proposal_digest: bytes = b""
    trace: RoundTrace | None = None
    timings: StageTimings = field(default_factory=StageTimings)
    draft_joules: float | None = None
    """Energy of drafting the proposal that was judged; None where not measured, or where nothing was proposed."""
    verify_joules: float | None = None
    """The round's share of the energy of judging; None where not measured."""
    top_log_probs: tuple[TopLogProbs, ...] = ()
    """What could have stood in the place of each token; empty where it was not asked for."""

    def cut(self, num_tokens: int) -> Outcome:
        """The outcome reduced to its first tokens; ``next_digest`` is left for the caller to set, who has the text."""
        if num_tokens == len(self.token_ids):
            return self
        return replace(
            self,
            token_ids=self.token_ids[:num_tokens],
            num_accepted=min(self.num_accepted, num_tokens),
            log_probs=self.log_probs[:num_tokens],
            next_digest=b"",
            top_log_probs=self.top_log_probs[:num_tokens],
        )


@dataclass(frozen=True, slots=True)
class TextScores:
    """How probable a text is under the unwarped target: each token from the second on, given those before it."""

    log_probs: tuple[float, ...]
    ranks: tuple[int, ...]
    """1 for the token that greedy decoding would choose; see ``TextScores`` of the wire contract."""
    top_log_probs: tuple[TopLogProbs, ...] = ()
    """What could have stood in the place of each; empty where it was not asked for."""


@dataclass(frozen=True, slots=True)
class Fence:
    """Who owns a session: compared as (epoch, nonce)."""

    epoch: int
    nonce: bytes

    def refuses(self, other: Fence) -> bool:
        """Whether a holder of this fence refuses work in the name of ``other``."""
        return other.epoch < self.epoch or (other.epoch == self.epoch and other.nonce != self.nonce)


@dataclass(frozen=True, slots=True)
class RoundName:
    """Names a round: a session, its owner, and the text that the round extends."""

    session_id: str
    fence: Fence
    position: int
    digest: bytes


class RunningDigest:
    """BLAKE2b (16 bytes) of a text's token ids as little-endian 32-bit integers, extended as the text grows."""

    __slots__ = ("_hash",)

    def __init__(self, token_ids: Sequence[int] = ()) -> None:
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.extend(token_ids)

    def extend(self, token_ids: Sequence[int]) -> bytes:
        """Appends tokens and returns the digest of the whole text."""
        if len(token_ids):
            self._hash.update(_as_bytes(token_ids))
        return self._hash.digest()

    def peek(self, token_ids: Sequence[int]) -> bytes:
        """The digest that ``extend`` would return, without extending."""
        ahead = self._hash.copy()
        ahead.update(_as_bytes(token_ids))
        return ahead.digest()

    @property
    def value(self) -> bytes:
        """The digest of the text so far."""
        return self._hash.digest()


def _as_bytes(token_ids: Sequence[int]) -> bytes:
    if len(token_ids) <= len(_ROUND_FORMATS):  # the tokens of a round: an array is not worth making
        return _ROUND_FORMATS[len(token_ids) - 1].pack(*token_ids)
    return np.asarray(token_ids, dtype="<u4").tobytes()


_ROUND_FORMATS = tuple(struct.Struct(f"<{count}I") for count in range(1, 65))


def proposal_digest(position: int, text_digest: bytes, proposal: Proposal) -> bytes:
    """A digest of all that a judgement reads of a proposal, 16 bytes; its own digest, timing and energy left out."""
    content = hashlib.blake2b(digest_size=DIGEST_BYTES)
    content.update(position.to_bytes(8, "little"))
    content.update(text_digest)
    tree = proposal.tree
    for array in (tree.token_ids, tree.parents, tree.draft_joint_log_probs):
        content.update(np.ascontiguousarray(array).tobytes())
    if proposal.distributions is not None:
        for array in (proposal.distributions.nodes, proposal.distributions.ids, proposal.distributions.log_probs):
            content.update(np.ascontiguousarray(array).tobytes())
    return content.digest()


def perplexity(negative_log_likelihood: float, num_tokens: int) -> float:
    """exp of the mean negative log-likelihood; 1 for an empty text."""
    return math.exp(negative_log_likelihood / num_tokens) if num_tokens else 1.0
