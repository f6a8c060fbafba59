"""What the model thread is told, and what it says to orchestrators and verify replicas: values, no messages."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.decoding.values import Decoding, Fence, Outcome, Proposal, RoundName
from tandem.errors import TandemError


class LeaseStream:
    """An orchestrator's stream as the model thread sees it: an identity to send answers to."""

    __slots__ = ()


# ------------------------------------------------------------------------------------------ from orchestrators


@dataclass(frozen=True, slots=True)
class Grant:
    """A session is leased to this replica."""

    stream: LeaseStream
    session_id: str
    fence: Fence
    decoding: Decoding
    token_ids: list[int]
    verify_address: str
    lease_seconds: float
    """0 is for ever."""
    round_timeout_seconds: float
    deadline: float
    """Of the request, by the monotonic clock; infinity is none."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A session's commit watermark."""

    session_id: str
    fence: Fence
    position: int


@dataclass(frozen=True, slots=True)
class Release:
    """A session is taken back."""

    session_id: str
    fence: Fence


@dataclass(frozen=True, slots=True)
class StreamOver:
    """No further request will come on a stream; answered by `Over`."""

    stream: LeaseStream


@dataclass(frozen=True, slots=True)
class Drain:
    """End every lease after the round it is in, then answer `Drained`."""


# ---------------------------------------------------------------------------------------- from verify replicas


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict."""

    name: RoundName
    outcome: Outcome
    serialise_seconds: float = 0.0
    """What writing the proposal's message and reading the verdict's took here."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The replica does not hold a round's text."""

    name: RoundName
    have_position: int
    have_digest: bytes


@dataclass(frozen=True, slots=True)
class VerifyRefused:
    """The replica refused a session's work."""

    address: str
    session_id: str
    error: TandemError
    highest_epoch: int


@dataclass(frozen=True, slots=True)
class VerifyLost:
    """The stream to a replica has ended."""

    address: str
    error: TandemError


Event = Grant | Committed | Release | StreamOver | Drain | Judged | Missed | VerifyRefused | VerifyLost


# ------------------------------------------------------------------------------------------- to orchestrators


@dataclass(frozen=True, slots=True)
class RoundDone:
    """A round's outcome, to be committed."""

    name: RoundName
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Ended:
    """A lease is over before its text is."""

    session_id: str
    error: Exception
    highest_epoch: int = 0
    verify_failed: bool = False


@dataclass(frozen=True, slots=True)
class Over:
    """Every answer to a stream has been given."""


LeaseAnswer = RoundDone | Ended | Over


@dataclass(frozen=True, slots=True)
class ToOrchestrator:
    """Goes to one orchestrator's stream."""

    stream: LeaseStream
    answer: LeaseAnswer


# ------------------------------------------------------------------------------------------- to verify replicas


@dataclass(frozen=True, slots=True)
class OpenAtVerify:
    """Begin the session there, or take it over."""

    session_id: str
    fence: Fence
    decoding: Decoding
    token_ids: list[int]
    timeout_seconds: float
    """Until the request's deadline; 0 is none."""


@dataclass(frozen=True, slots=True)
class ExtendAtVerify:
    """Tokens that are missing there."""

    session_id: str
    fence: Fence
    from_position: int
    token_ids: list[int]


@dataclass(frozen=True, slots=True)
class AskVerdict:
    """A proposal to be judged there."""

    name: RoundName
    proposal: Proposal
    committed_position: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class CloseAtVerify:
    """The session moves on."""

    session_id: str
    fence: Fence


VerifyRequest = OpenAtVerify | ExtendAtVerify | AskVerdict | CloseAtVerify


@dataclass(frozen=True, slots=True)
class ToVerify:
    """Goes to one verify replica."""

    address: str
    request: VerifyRequest


@dataclass(frozen=True, slots=True)
class Drained:
    """Every lease is over."""


Outgoing = ToOrchestrator | ToVerify | Drained
