"""What a session tells whoever follows it, in the order in which a stream carries it."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.decoding.stats import Usage
from tandem.decoding.values import Decoding, Outcome, TopLogProbs
from tandem.generation import FinishReason


@dataclass(frozen=True, slots=True)
class Started:
    """First: the session as it was set up."""

    session_id: str
    prompt_token_ids: tuple[int, ...]
    decoding: Decoding


@dataclass(frozen=True, slots=True)
class Committed:
    """Tokens that were committed."""

    position: int
    """Tokens before these, prompt included."""
    digest: bytes
    """Of the text after these."""
    token_ids: tuple[int, ...]
    text: str
    log_probs: tuple[float, ...]
    traced: Outcome | None = None
    """The round that made them, cut where the text ends; only where rounds are traced."""
    top_log_probs: tuple[TopLogProbs, ...] = ()
    """What could have stood in the place of each; empty where not asked for, or not kept."""
    committed_at: float = 0.0
    """When, by the monotonic clock."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Last: how it ended."""

    reason: FinishReason
    usage: Usage
    stop: str = ""


Event = Started | Committed | Finished
