"""What a method did on a set of questions: quality and cost side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tandem.evaluation.text_to_sql import Example, execution_match
from tandem.generation import Generation


@dataclass(frozen=True, slots=True)
class MethodReport:
    """A method's figures over all of its answers; ratios are weighted by token or round, not averaged per answer."""

    method: str
    num_questions: int
    execution_accuracy: float
    """Share of the questions whose query gives what the gold query gives."""
    output_perplexity: float
    """Under the unwarped target."""
    block_efficiency: float
    """Tokens emitted per target pass."""
    acceptance_rate: float | None
    """Accepted drafted tokens / drafted tokens; None where nothing was drafted."""
    tokens_per_second: float
    """All answers together, as many at once as were asked at once."""
    time_to_first_token_seconds: float
    """Median."""

    @classmethod
    def of(
        cls, method: str, examples: Sequence[Example], answers: Sequence[Generation], seconds: float
    ) -> MethodReport:
        """Judges the answers by executing them.

        Args:
            method: its name.
            examples: the questions.
            answers: one per question.
            seconds: from the first request to the last answer.
        """
        usages = [answer.usage for answer in answers]
        num_tokens = sum(usage.completion_tokens for usage in usages)
        num_drafted = sum(usage.num_draft_tokens for usage in usages)
        num_passes = sum(usage.num_target_passes for usage in usages)
        right = sum(execution_match(example, answer.text) for example, answer in zip(examples, answers, strict=True))
        return cls(
            method=method,
            num_questions=len(examples),
            execution_accuracy=right / len(examples),
            output_perplexity=math.exp(sum(usage.output_negative_log_likelihood for usage in usages) / num_tokens),
            block_efficiency=num_tokens / num_passes,
            acceptance_rate=sum(u.num_accepted_draft_tokens for u in usages) / num_drafted if num_drafted else None,
            tokens_per_second=num_tokens / seconds,
            time_to_first_token_seconds=statistics.median(usage.time_to_first_token_seconds for usage in usages),
        )
