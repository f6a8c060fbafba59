"""What the store keeps of a session, as values, and their compact form there."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import chain
from typing import Literal

from tandem.decoding.constraint import Constraint
from tandem.decoding.stats import RunningUsage
from tandem.decoding.values import DIGEST_BYTES, Decoding, Fence, Outcome, Sampling, Speculation, TopLogProbs
from tandem.errors import DataLoss
from tandem.generation import FinishReason

ROUND_BYTES = 24
_ROUND = struct.Struct(f"<I{DIGEST_BYTES}sBBBx")
_JOULES = struct.Struct("<dd")


@dataclass(frozen=True, slots=True)
class Setup:
    """What never changes within a session."""

    prompt_length: int
    decoding: Decoding
    stop: tuple[str, ...]
    tokenizer_digest: str
    drawing_version: int
    target: str
    """Digest of the target's weights: another target would go on with another text."""
    created: float
    """Seconds since 1970, by the clock of the orchestrator that made it."""
    principal: str = ""
    """Who opened it; empty where nobody was asked."""


@dataclass(frozen=True, slots=True)
class CommittedRound:
    """A committed round: where it begins, and how it was judged."""

    position: int
    digest: bytes
    num_accepted: int
    num_drafted: int
    num_target_passes: int
    draft_joules: float | None = None
    verify_joules: float | None = None

    @classmethod
    def of(cls, position: int, digest: bytes, outcome: Outcome) -> CommittedRound:
        """The round that extends a text of that length and digest by ``outcome``."""
        return cls(
            position,
            digest,
            outcome.num_accepted,
            outcome.num_drafted,
            outcome.num_target_passes,
            outcome.draft_joules,
            outcome.verify_joules,
        )


@dataclass(frozen=True, slots=True)
class KvReference:
    """A hint where a session's KV is; the replica is the authority."""

    role: Literal["draft", "verify"]
    address: str
    position: int
    epoch: int


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session as it stands in the store."""

    session_id: str
    setup: Setup
    fence: Fence
    position: int
    digest: bytes
    token_ids: tuple[int, ...]
    """The whole text, prompt included."""
    log_probs: tuple[float, ...]
    """Of the generated tokens, under the unwarped target; NaN where a client restored them."""
    rounds: tuple[CommittedRound, ...] = ()
    ended: FinishReason | None = None
    stop: str = ""
    """The stop string that ended the text."""
    kv_references: tuple[KvReference, ...] = ()
    top_log_probs: tuple[TopLogProbs, ...] = ()
    """In the place of each generated token, nothing where they were not kept; empty where they were not asked for."""

    def usage(self) -> RunningUsage:
        """The figures of the committed rounds."""
        prompt_length = self.setup.prompt_length
        running = RunningUsage(self.setup.decoding.speculation.method, prompt_length)
        ends = [*(found.position for found in self.rounds[1:]), self.position]
        for found, end in zip(self.rounds, ends, strict=False):
            log_probs = self.log_probs[found.position - prompt_length : end - prompt_length]
            running.add(
                Outcome(
                    self.token_ids[found.position : end],
                    found.num_accepted,
                    found.num_drafted,
                    tuple(value for value in log_probs if value == value),
                    num_target_passes=found.num_target_passes,
                    draft_joules=found.draft_joules,
                    verify_joules=found.verify_joules,
                )
            )
        return running


def pack_tokens(token_ids: Sequence[int]) -> bytes:
    """Token ids as little-endian 32-bit integers."""
    return struct.pack(f"<{len(token_ids)}I", *token_ids)


def unpack_tokens(content: bytes) -> tuple[int, ...]:
    """The inverse of `pack_tokens`."""
    return struct.unpack(f"<{len(content) // 4}I", content)


def pack_log_probs(log_probs: Sequence[float]) -> bytes:
    """Log-probabilities as little-endian doubles."""
    return struct.pack(f"<{len(log_probs)}d", *log_probs)


def unpack_log_probs(content: bytes) -> tuple[float, ...]:
    """The inverse of `pack_log_probs`."""
    return struct.unpack(f"<{len(content) // 8}d", content)


def pack_top(tops: Sequence[TopLogProbs]) -> bytes:
    """The most probable tokens in the place of each token: how many (a byte), then as many ids (le32) and doubles."""
    packed: list[bytes] = []
    for top in tops:
        packed.append(_top_struct(len(top)).pack(len(top), *chain.from_iterable(top)))
    return b"".join(packed)


def unpack_top(content: bytes, num_tokens: int) -> tuple[TopLogProbs, ...]:
    """The inverse of `pack_top`, of a text for which they were asked.

    Where there are not as many as tokens, an orchestrator that did not know of them has had the session: it is not
    known which token has which, so nobody has any.
    """
    tops: list[TopLogProbs] = []
    at = 0
    while at < len(content):
        count, *values = _top_struct(content[at]).unpack_from(content, at)
        tops.append(tuple(zip(values[::2], values[1::2], strict=True)))
        at += _top_struct(count).size
    return tuple(tops) if len(tops) == num_tokens else ((),) * num_tokens


@cache
def _top_struct(count: int) -> struct.Struct:
    return struct.Struct("<B" + "Id" * count)


def pack_round(value: CommittedRound) -> bytes:
    """A round in 24 bytes; its counts are small by the bounds of an outcome."""
    return _ROUND.pack(
        value.position,
        value.digest,
        min(value.num_accepted, 255),
        min(value.num_drafted, 255),
        min(value.num_target_passes, 255),
    )


def pack_joules(value: CommittedRound) -> bytes:
    """A round's energy in 16 bytes, NaN where one role's was not measured; nothing where neither was."""
    if value.draft_joules is None and value.verify_joules is None:
        return b""
    return _JOULES.pack(*(math.nan if part is None else part for part in (value.draft_joules, value.verify_joules)))


def unpack_rounds(content: bytes, joules: bytes) -> tuple[CommittedRound, ...]:
    """Rounds as `pack_round` and `pack_joules` wrote them, one after another.

    Energy is only read where every round has it: otherwise it is not known which round has which, and the sum of all
    would be of a part.
    """
    rounds = tuple(CommittedRound(*fields) for fields in _ROUND.iter_unpack(content))
    if len(joules) != len(rounds) * _JOULES.size:
        return rounds
    return tuple(
        replace(found, draft_joules=_measured(draft), verify_joules=_measured(verify))
        for found, (draft, verify) in zip(rounds, _JOULES.iter_unpack(joules), strict=True)
    )


def _measured(joules: float) -> float | None:
    return None if math.isnan(joules) else joules


def dump_setup(value: Setup) -> str:
    """A setup as JSON."""
    fields = asdict(value)
    if not value.principal:
        del fields["principal"]  # orchestrators from before there were any read the record too
    salt = fields["decoding"].pop("cache_salt")
    if salt:
        fields["decoding"]["cache_salt"] = salt.hex()
    return json.dumps(fields, separators=(",", ":"))


def load_setup(content: bytes) -> Setup:
    """The inverse of `dump_setup`.

    Raises:
        DataLoss: the store holds something else.
    """
    try:
        fields = json.loads(content)
        decoding = fields.pop("decoding")
        sampling = decoding.pop("sampling")
        # Records from before salts, biases and constraints were served have none.
        salt = bytes.fromhex(decoding.pop("cache_salt", ""))
        biases = tuple((token, bias) for token, bias in sampling.pop("logit_bias", ()))
        constraint = sampling.pop("constraint", None)
        return Setup(
            decoding=Decoding(
                sampling=Sampling(
                    **sampling, logit_bias=biases, constraint=None if constraint is None else Constraint(**constraint)
                ),
                speculation=Speculation(**decoding.pop("speculation")),
                eos_token_ids=tuple(decoding.pop("eos_token_ids")),
                cache_salt=salt,
                **decoding,
            ),
            stop=tuple(fields.pop("stop")),
            **fields,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DataLoss(f"the session's record cannot be read: {type(error).__name__}") from error
