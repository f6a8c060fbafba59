"""What the model thread is told, and what it answers: values, so that neither side of the thread sees a message."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.decoding.values import Decoding, Fence, Outcome, Proposal, RoundName, TextScores


class Stream:
    """A client's stream as the model thread sees it: an identity to send answers to, and how they are asked for."""

    __slots__ = ("decodes",)

    def __init__(self, *, decodes: bool) -> None:
        self.decodes = decodes
        """Opened by Decode: the target runs ahead by itself. Else by Judge: rounds are asked for."""


class Ticket:
    """A call that waits for the scores of a text, as the model thread sees it: an identity to answer to."""

    __slots__ = ()


# Instants (deadline, arrived) are readings of the monotonic clock, in seconds; infinity is no deadline.


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a session, or take it over."""

    stream: Stream
    session_id: str
    fence: Fence
    decoding: Decoding
    token_ids: list[int]
    deadline: float


@dataclass(frozen=True, slots=True)
class Extend:
    """Tokens of a text, from a position on."""

    stream: Stream
    session_id: str
    fence: Fence
    from_position: int
    token_ids: list[int]


@dataclass(frozen=True, slots=True)
class Round:
    """A proposal to be judged."""

    stream: Stream
    name: RoundName
    proposal: Proposal
    sent_ahead: bool
    committed_position: int
    arrived: float
    deadline: float
    read_seconds: float = 0.0
    """What reading its message took."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A session's commit watermark."""

    session_id: str
    fence: Fence
    position: int


@dataclass(frozen=True, slots=True)
class Close:
    """A session is over here."""

    session_id: str
    fence: Fence


@dataclass(frozen=True, slots=True)
class Score:
    """A text of at least two tokens to be scored."""

    ticket: Ticket
    token_ids: list[int]
    num_top: int
    deadline: float


@dataclass(frozen=True, slots=True)
class LeaveScore:
    """Nobody waits for the scores any more."""

    ticket: Ticket


@dataclass(frozen=True, slots=True)
class StreamOver:
    """No further request will come on a stream; answered by `Over` once all that it asked for is answered."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Drain:
    """Finish what is ready, then answer `Drained`."""


Event = Open | Extend | Round | Committed | Close | Score | LeaveScore | StreamOver | Drain


@dataclass(frozen=True, slots=True)
class Opened:
    """A session is open, with so many positions cached."""

    session_id: str
    cached_position: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A round's outcome. At most one of the marks is set."""

    name: RoundName
    outcome: Outcome
    repeated_answer: bool = False
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class KvMissed:
    """The text that a round names is not held; what is held instead."""

    name: RoundName
    have_position: int
    have_digest: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """A round that was sent ahead will not be judged."""

    name: RoundName


@dataclass(frozen=True, slots=True)
class Decoded:
    """Tokens that the target decoded alone."""

    name: RoundName
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Refused:
    """Work for a session was refused, or failed."""

    session_id: str
    error: Exception
    highest_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of a text."""

    ticket: Ticket
    scores: TextScores


@dataclass(frozen=True, slots=True)
class NotScored:
    """A text was not scored, and will not be."""

    ticket: Ticket
    error: Exception


@dataclass(frozen=True, slots=True)
class Over:
    """Every answer to a stream has been given."""


Answer = Opened | Verdict | KvMissed | Dropped | Decoded | Refused | Over


@dataclass(frozen=True, slots=True)
class Drained:
    """What was ready when draining began is judged."""


Said = tuple[Stream | None, Answer] | Scored | NotScored | Drained
"""All that the model thread has to say: answers to streams (None: to none that is left), to calls, to the service."""
