"""A request's own figures, counted from its committed rounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.decoding.values import Outcome, perplexity


@dataclass(frozen=True, slots=True)
class Usage:
    """A request's figures, named as vLLM names them. Joules are None where they were not measured."""

    method: str
    prompt_tokens: int
    completion_tokens: int
    """Tokens generated, the end token included."""
    mean_acceptance_length: float
    """1 + accepted / rounds in which something was drafted; 1 when there was none."""
    draft_acceptance_rate: float
    """Accepted drafted tokens / drafted tokens; 0 when nothing was drafted."""
    acceptance_histogram: tuple[int, ...]
    """Rounds in which something was drafted, by number of accepted tokens, from 0."""
    num_spec_steps: int
    """Rounds in which something was drafted."""
    num_accepted_draft_tokens: int
    """The extra token of a round never counts."""
    num_draft_tokens: int
    num_target_passes: int
    output_negative_log_likelihood: float
    """Sum over the generated tokens, under the unwarped target."""
    output_perplexity: float
    """exp of the mean negative log-likelihood."""
    time_to_first_token_seconds: float
    time_per_output_token_seconds: float
    """Seconds per token after the first; 0 where there was none."""
    draft_joules: float | None = None
    """Of all proposals that were judged; 0 where nothing was drafted and verifying was measured."""
    verify_joules: float | None = None

    @property
    def joules_per_token(self) -> float | None:
        """Energy of both roles per generated token; None unless each that took part was measured."""
        if self.draft_joules is None or self.verify_joules is None or not self.completion_tokens:
            return None
        return (self.draft_joules + self.verify_joules) / self.completion_tokens

    @property
    def block_efficiency(self) -> float:
        """Tokens emitted per target pass; 0 before the first."""
        return self.completion_tokens / self.num_target_passes if self.num_target_passes else 0.0


@dataclass(slots=True)
class RunningUsage:
    """Counts outcomes as they are committed: cut where the text ends. All fields are plain, so they can be stored."""

    method: str
    prompt_tokens: int
    completion_tokens: int = 0
    num_spec_steps: int = 0
    num_accepted_draft_tokens: int = 0
    num_draft_tokens: int = 0
    num_target_passes: int = 0
    negative_log_likelihood: float = 0.0
    acceptance_histogram: list[int] = field(default_factory=list)
    draft_joules: float | None = 0.0
    verify_joules: float | None = 0.0
    """Sums; None from the first round on that was not measured: a part of the energy is no figure."""

    def add(self, outcome: Outcome) -> None:
        """Counts one round. Of a cut outcome only the tokens that remain are counted as generated or accepted."""
        num_tokens = len(outcome.token_ids)
        self.completion_tokens += num_tokens
        self.num_target_passes += outcome.num_target_passes
        self.negative_log_likelihood -= sum(outcome.log_probs[:num_tokens])
        self.verify_joules = plus(self.verify_joules, outcome.verify_joules)
        if outcome.num_drafted or outcome.draft_joules is not None:  # deciding to draft nothing costs energy too
            self.draft_joules = plus(self.draft_joules, outcome.draft_joules)
        if outcome.num_drafted:
            num_accepted = min(outcome.num_accepted, num_tokens)
            self.num_spec_steps += 1
            self.num_draft_tokens += outcome.num_drafted
            self.num_accepted_draft_tokens += num_accepted
            missing = outcome.num_drafted + 1 - len(self.acceptance_histogram)
            self.acceptance_histogram.extend([0] * missing)
            self.acceptance_histogram[num_accepted] += 1

    def usage(self, first_token_seconds: float, total_seconds: float) -> Usage:
        """The figures so far.

        Args:
            first_token_seconds: from the request's arrival to its first committed token.
            total_seconds: from the request's arrival to its last committed token.
        """
        rest = self.completion_tokens - 1
        verify_joules = self.verify_joules if self.num_target_passes else None
        nothing_drafted = None if verify_joules is None else 0.0
        return Usage(
            method=self.method,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            mean_acceptance_length=1 + _ratio(self.num_accepted_draft_tokens, self.num_spec_steps),
            draft_acceptance_rate=_ratio(self.num_accepted_draft_tokens, self.num_draft_tokens),
            acceptance_histogram=tuple(self.acceptance_histogram),
            num_spec_steps=self.num_spec_steps,
            num_accepted_draft_tokens=self.num_accepted_draft_tokens,
            num_draft_tokens=self.num_draft_tokens,
            num_target_passes=self.num_target_passes,
            output_negative_log_likelihood=self.negative_log_likelihood,
            output_perplexity=perplexity(self.negative_log_likelihood, self.completion_tokens),
            time_to_first_token_seconds=first_token_seconds,
            time_per_output_token_seconds=(total_seconds - first_token_seconds) / rest if rest > 0 else 0.0,
            draft_joules=self.draft_joules if self.num_spec_steps or self.draft_joules else nothing_drafted,
            verify_joules=verify_joules,
        )


def plus(joules: float | None, more: float | None) -> float | None:
    """The sum of two amounts of energy; None where either was not measured."""
    return None if joules is None or more is None else joules + more


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
