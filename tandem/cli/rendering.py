"""Generations and rounds as coloured text."""

from __future__ import annotations

from rich.text import Text

from tandem.evaluation.showing import TokenText, candidates
from tandem.generation import Generation, Round, Usage

ACCEPTED, REFUSED, EXTRA = "bold green", "red strike", "bold cyan"


def figures(generation: Generation, seconds: float) -> str:
    """One line: method, tokens, acceptance, perplexity, speed, and energy where it was measured."""
    usage = generation.usage
    parts = [
        f"{generation.method}, seed {generation.seed}",
        f"{usage.completion_tokens} tokens ({generation.finish_reason}) in {seconds:.2f} s",
    ]
    if usage.num_spec_steps:
        parts.append(
            f"{usage.draft_acceptance_rate:.0%} of {usage.num_draft_tokens} drafted tokens accepted, "
            f"{usage.mean_acceptance_length:.2f} tokens per round"
        )
    parts.append(f"perplexity {usage.output_perplexity:.3f}")
    parts.append(
        f"{tokens_per_second(usage):.0f} tokens/s, first after {usage.time_to_first_token_seconds * 1e3:.0f} ms"
    )
    if usage.joules_per_token is not None:
        whole = f"draft {usage.draft_joules:.3g} J, verify {usage.verify_joules:.3g} J"
        parts.append(f"{usage.joules_per_token:.3g} J/token ({whole})")
    return " · ".join(parts)


def tokens_per_second(usage: Usage) -> float:
    """Speed from the request's arrival to its last token, as the server saw it; 0 for an empty text."""
    if not usage.completion_tokens:
        return 0.0
    rest = usage.time_per_output_token_seconds * (usage.completion_tokens - 1)
    seconds = usage.time_to_first_token_seconds + rest
    return usage.completion_tokens / seconds if seconds > 0 else 0.0


def render_round(traced: Round, token_text: TokenText) -> Text:
    """A round: each candidate on a line of its own, accepted tokens green, refused ones struck, the target's blue."""
    text = Text(f"@{traced.position:<5} ", style="dim")
    accepted = traced.accepted_token_ids
    if not traced.token_ids:
        text.append("target  ", "dim")
        for token in traced.emitted_token_ids:
            text.append(_shown(token_text(token)), EXTRA)
        return text
    paths = candidates(traced)
    for index, path in enumerate(paths):
        if index:
            text.append("\n       ")
        text.append("drafted ", "dim")
        for depth, node in enumerate(path):
            was_accepted = not index and depth < len(accepted)
            text.append(_shown(token_text(traced.token_ids[node])), ACCEPTED if was_accepted else REFUSED)
        if not index and traced.extra_token_id is not None:
            kind = "bonus" if len(accepted) == len(path) else "correction"
            text.append(_shown(token_text(traced.extra_token_id)), EXTRA)
            text.append(f" {kind}", "dim")
        if not index:
            text.append(
                f"  {len(accepted)} of {len(path)} accepted,"
                f" log-likelihood draft {traced.draft_joint_log_probs[path[-1]]:.2f}"
                f" target {traced.target_joint_log_probs[path[-1]]:.2f}",
                "dim",
            )
    return text


def legend() -> Text:
    """What the colours of `render_round` mean."""
    return Text.assemble(
        ("accepted", ACCEPTED), "  ", ("refused", REFUSED), "  ", ("the target's own", EXTRA), ("  (@ position)", "dim")
    )


def _shown(piece: str) -> str:
    return "".join(f"{character!r}"[1:-1] if not character.isprintable() else character for character in piece)
