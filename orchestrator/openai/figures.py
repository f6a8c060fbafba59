"""The figures of all texts of a request, as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest

from orchestrator.openai.answers import Metrics, SpeculativeDecoding, Usage
from orchestrator.openai.texts import Text
from tandem.decoding.methods import method
from tandem.decoding.stats import Usage as TextUsage
from tandem.decoding.stats import plus
from tandem.decoding.values import perplexity


def usage_of(texts: Sequence[Text], num_choices: int) -> Usage:
    """The usage of texts that have ended, ``num_choices`` a prompt."""
    found = [text.usage for text in texts if text.usage is not None]
    prompt_tokens = sum(usage.prompt_tokens for usage in found[::num_choices])
    completion_tokens = _sum(found, "completion_tokens")
    steps, accepted = _sum(found, "num_spec_steps"), _sum(found, "num_accepted_draft_tokens")
    drafted = _sum(found, "num_draft_tokens")
    log_likelihood = sum(usage.output_negative_log_likelihood for usage in found)
    draft_joules: float | None = 0.0
    verify_joules: float | None = 0.0
    for usage in found:
        draft_joules = plus(draft_joules, usage.draft_joules)
        verify_joules = plus(verify_joules, usage.verify_joules)
    joules = plus(draft_joules, verify_joules)
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        method=found[0].method,
        seed=texts[0].seed,
        mean_acceptance_length=1 + (accepted / steps if steps else 0.0),
        draft_acceptance_rate=accepted / drafted if drafted else 0.0,
        acceptance_histogram=[sum(counts) for counts in zip_longest(*_histograms(found), fillvalue=0)],
        num_spec_steps=steps,
        num_accepted_draft_tokens=accepted,
        num_draft_tokens=drafted,
        num_target_passes=_sum(found, "num_target_passes"),
        output_perplexity=_finite_perplexity(log_likelihood, completion_tokens),
        time_to_first_token_seconds=min(usage.time_to_first_token_seconds for usage in found),
        time_per_output_token_seconds=_time_per_token(found),
        draft_joules=draft_joules,
        verify_joules=verify_joules,
        joules_per_token=joules / completion_tokens if joules is not None and completion_tokens else None,
    )


def usage_of_prompts(prompt_tokens: int, seed: int, seconds: float) -> Usage:
    """The usage of a request that generated nothing, and was answered after ``seconds``."""
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=0,
        total_tokens=prompt_tokens,
        method="none",
        seed=seed,
        mean_acceptance_length=1.0,
        draft_acceptance_rate=0.0,
        acceptance_histogram=[],
        num_spec_steps=0,
        num_accepted_draft_tokens=0,
        num_draft_tokens=0,
        num_target_passes=0,
        output_perplexity=None,
        time_to_first_token_seconds=seconds,
        time_per_output_token_seconds=0.0,
    )


def metrics_of(texts: Sequence[Text], usage: Usage) -> Metrics | None:
    """vLLM's figures: of one text whose method drafts; None otherwise."""
    if len(texts) != 1 or method(usage.method).target_only:
        return None
    num_spec_tokens = texts[0].session.decoding.speculation.draft_length
    missing = num_spec_tokens + 1 - len(usage.acceptance_histogram)
    return Metrics(
        speculative_decoding=SpeculativeDecoding(
            mean_acceptance_length=usage.mean_acceptance_length,
            draft_acceptance_rate=usage.draft_acceptance_rate,
            acceptance_histogram=usage.acceptance_histogram + [0] * missing,
            num_spec_steps=usage.num_spec_steps,
            num_accepted_draft_tokens=usage.num_accepted_draft_tokens,
            num_draft_tokens=usage.num_draft_tokens,
            num_spec_tokens=num_spec_tokens,
        )
    )


def _sum(found: Sequence[TextUsage], name: str) -> int:
    return sum(getattr(usage, name) for usage in found)


def _histograms(found: Sequence[TextUsage]) -> list[tuple[int, ...]]:
    return [usage.acceptance_histogram for usage in found]


def _time_per_token(found: Sequence[TextUsage]) -> float:
    num_tokens = sum(max(0, usage.completion_tokens - 1) for usage in found)
    seconds = sum(usage.time_per_output_token_seconds * max(0, usage.completion_tokens - 1) for usage in found)
    return seconds / num_tokens if num_tokens else 0.0


def _finite_perplexity(negative_log_likelihood: float, num_tokens: int) -> float | None:
    """None where it is too large for a number: the target had ruled a token out."""
    try:
        value = perplexity(negative_log_likelihood, num_tokens)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
