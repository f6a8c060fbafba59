"""What generating a text returns, the same whether services or one process made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from tandem.decoding.stats import Usage
from tandem.decoding.values import Outcome, StageTimings, TopLogProbs

__all__ = ["FinishReason", "Generation", "Options", "Part", "Round", "Score", "Usage"]

FinishReason = Literal["stop", "length", "cancelled"]


class Options(TypedDict, total=False):
    """How a text is to be generated. What is left out, or None, is the server's default."""

    method: str | None
    """Decoding method by name; docs/methods.md says what each does."""
    draft_length: int | None
    """Tokens drafted a round (γ), 1 to 32."""
    beam_width: int | None
    """Beams a round, 1 to 16."""
    threshold: float | None
    """Acceptance threshold, more than 0 and less than 1: τ of the joint methods, ε of typical, bild's rollback
    threshold; the method's own unless given.
    """
    temperature: float | None
    """0 (greedy) to 10; 1 unless given."""
    top_k: int | None
    """Keeps the k most probable tokens; 0 is off; 10 unless given."""
    top_p: float | None
    """Keeps the smallest set of tokens of this probability; 1 is off; 0.9 unless given."""
    min_p: float | None
    """Drops tokens less probable than this share of the most probable one; 0 is off."""
    presence_penalty: float | None
    """Taken from the logit of each token that was generated before, -2 to 2; 0 is off."""
    frequency_penalty: float | None
    """Taken from the logit of each token as often as it was generated before, -2 to 2; 0 is off."""
    logit_bias: Mapping[int, float] | None
    """Token id -> what is added to its logit, -100 (as good as never) to 100 (as good as always); at most 1024."""
    json_schema: str | Mapping[str, Any] | None
    """The text is JSON that this schema describes. One of this, ``grammar`` and ``regex`` at most; not with
    ``ignore_eos``.
    """
    grammar: str | None
    """The text is one of this grammar, written in llguidance's dialect of Lark."""
    regex: str | None
    """The whole text matches this expression."""
    seed: int | None
    """Fixes every draw, 0 to 2**64 - 1; chosen by the server, and returned, unless given."""
    num_top_log_probs: int | None
    """How many of the most probable tokens to tell with each that is generated, 0 to 20; 0 unless given."""
    max_tokens: int | None
    """Tokens to generate at most; 256, or what fits, unless given."""
    stop: str | Sequence[str] | None
    """Strings that end the text and are not part of it."""
    cache_salt: str | bytes | None
    """Computed prompts are shared only with texts of the same salt, at most 64 bytes; with all that have none unless
    given. Where a service asks for keys, with those of the same key besides.
    """
    ignore_eos: bool
    """Samples end tokens and passes over them."""
    trace: bool
    """Describes every round."""


@dataclass(frozen=True, slots=True)
class Round:
    """A traced round: what was proposed, and what became of it."""

    position: int
    """Tokens before the round, prompt included."""
    token_ids: tuple[int, ...]
    """The drafted token tree, in order of depth; empty when the target decoded alone, or nothing was drafted."""
    parents: tuple[int, ...]
    """Index of each node's parent; -1 is the root."""
    draft_joint_log_probs: tuple[float, ...]
    """Warped, of the path from the root to each node."""
    target_joint_log_probs: tuple[float, ...]
    """As the draft's; -inf outside the target's support."""
    accepted_token_ids: tuple[int, ...]
    """The drafted tokens that were accepted."""
    extra_token_id: int | None
    """The target's correction or bonus token; None where the text ended before it or the target wrote several."""
    emitted_token_ids: tuple[int, ...]
    """All that the round added to the text."""
    timings: StageTimings

    @classmethod
    def of(cls, position: int, outcome: Outcome) -> Round:
        """The round at ``position`` with this outcome, cut where the text ends."""
        trace = outcome.trace
        extra = outcome.token_ids[outcome.num_accepted :]
        return cls(
            position=position,
            token_ids=trace.token_ids if trace else (),
            parents=trace.parents if trace else (),
            draft_joint_log_probs=trace.draft_joint_log_probs if trace else (),
            target_joint_log_probs=trace.target_joint_log_probs if trace else (),
            accepted_token_ids=outcome.token_ids[: outcome.num_accepted],
            extra_token_id=extra[0] if len(extra) == 1 else None,
            emitted_token_ids=outcome.token_ids,
            timings=outcome.timings,
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of committed text. ``position + len(token_ids)`` and ``digest`` are what resuming asks for."""

    position: int
    """Tokens before these, prompt included."""
    digest: bytes
    """Running digest of the text after these tokens, 16 bytes."""
    token_ids: tuple[int, ...]
    text: str
    """What these tokens completed; may lag behind them."""
    log_probs: tuple[float, ...]
    """Of each token under the unwarped target; empty where they were not kept."""
    rounds: tuple[Round, ...] = ()
    """The rounds that made the part, when traced."""
    top_log_probs: tuple[TopLogProbs, ...] = ()
    """The most probable tokens in the place of each, under the unwarped target; empty where not asked for or kept."""


@dataclass(frozen=True, slots=True)
class Score:
    """How probable a given text is under the unwarped target: each token from the second on, given those before it."""

    token_ids: tuple[int, ...]
    """The text as the target reads it."""
    log_probs: tuple[float, ...]
    """One fewer than tokens: nothing stands before the first."""
    ranks: tuple[int, ...]
    """How many tokens were at least as probable, itself included: 1 is what greedy decoding would choose."""
    top_log_probs: tuple[TopLogProbs, ...] = ()
    """The most probable tokens in the place of each; empty where not asked for."""

    @property
    def log_likelihood(self) -> float:
        """Of all that follows the first token."""
        return sum(self.log_probs)


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished text with its figures."""

    text: str
    token_ids: tuple[int, ...]
    """The generated tokens, the end token included."""
    prompt_token_ids: tuple[int, ...]
    finish_reason: FinishReason
    session_id: str
    usage: Usage
    method: str
    seed: int
    """Repeats the text; chosen by the server when the request named none."""
    rounds: tuple[Round, ...] = ()
    """Every round, when traced."""
    log_probs: tuple[float, ...] = ()
    """Of each generated token under the unwarped target; empty where some were not kept."""
    top_log_probs: tuple[TopLogProbs, ...] = ()
    """The most probable tokens in the place of each; empty where not asked for, or some were not kept."""
