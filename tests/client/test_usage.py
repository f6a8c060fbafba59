from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tandem.decoding.stats import RunningUsage
from tandem.decoding.values import Outcome


def _outcome(num_tokens: int, num_accepted: int, num_drafted: int, passes: int = 1) -> Outcome:
    return Outcome(tuple(range(num_tokens)), num_accepted, num_drafted, (-0.5,) * num_tokens, num_target_passes=passes)


def test_figures_of_drafted_rounds() -> None:
    running = RunningUsage("mtad", prompt_tokens=7)
    for outcome in (_outcome(5, 4, 4), _outcome(1, 0, 4), _outcome(3, 2, 4)):
        running.add(outcome)
    usage = running.usage(first_token_seconds=0.5, total_seconds=2.5)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.num_target_passes) == (7, 9, 3)
    assert usage.acceptance_histogram == (1, 0, 1, 0, 1)
    assert usage.mean_acceptance_length == usage.block_efficiency == 3
    assert usage.draft_acceptance_rate == 0.5
    assert usage.output_perplexity == pytest.approx(math.exp(0.5))
    assert usage.time_per_output_token_seconds == 0.25
    assert usage.draft_joules is None


def test_a_cut_round_counts_only_what_remains() -> None:
    running = RunningUsage("block", prompt_tokens=1)
    running.add(_outcome(2, 4, 4))
    usage = running.usage(0.1, 0.2)
    assert (usage.completion_tokens, usage.num_accepted_draft_tokens, usage.num_draft_tokens) == (2, 2, 4)
    assert usage.acceptance_histogram == (0, 0, 1, 0, 0)


def test_a_target_alone_has_no_acceptance() -> None:
    running = RunningUsage("mtjd", prompt_tokens=1)
    running.add(_outcome(4, 0, 0, passes=4))
    usage = running.usage(0.1, 0.1)
    assert (usage.mean_acceptance_length, usage.draft_acceptance_rate, usage.num_spec_steps) == (1, 0, 0)
    assert usage.acceptance_histogram == ()
    assert usage.block_efficiency == 1


def test_a_round_whose_draft_was_empty_counts_as_a_pass_and_not_as_a_draft() -> None:
    running = RunningUsage("bild", prompt_tokens=1)
    for outcome in (_outcome(1, 0, 0), _outcome(3, 2, 2), _outcome(1, 0, 0)):
        running.add(outcome)
    usage = running.usage(0.1, 0.2)
    assert (usage.completion_tokens, usage.num_target_passes, usage.num_spec_steps) == (5, 3, 1)
    assert (usage.mean_acceptance_length, usage.draft_acceptance_rate) == (3, 1)
    assert usage.acceptance_histogram == (0, 0, 1)


def test_nothing_generated_is_no_division_by_zero() -> None:
    usage = RunningUsage("mtad", prompt_tokens=1).usage(0.0, 0.0)
    assert (usage.output_perplexity, usage.time_per_output_token_seconds, usage.block_efficiency) == (1, 0, 0)


def test_energy_is_summed_by_role() -> None:
    running = RunningUsage("mtad", prompt_tokens=1)
    for draft_joules, verify_joules in ((0.25, 1.0), (0.5, 2.25)):
        running.add(replace(_outcome(4, 3, 4), draft_joules=draft_joules, verify_joules=verify_joules))
    usage = running.usage(0.1, 0.2)
    assert (usage.draft_joules, usage.verify_joules, usage.joules_per_token) == (0.75, 3.25, 0.5)


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("role", ["draft_joules", "verify_joules"])
def test_one_round_that_was_not_measured_leaves_its_role_without_a_figure(role: str, missing: int) -> None:
    running = RunningUsage("mtad", prompt_tokens=1)
    for number in range(3):
        outcome = replace(_outcome(4, 3, 4), draft_joules=1.0, verify_joules=1.0)
        running.add(replace(outcome, **{role: None}) if number == missing else outcome)
    usage = running.usage(0.1, 0.2)
    assert {name: getattr(usage, name) for name in ("draft_joules", "verify_joules")} == {
        "draft_joules": 3.0,
        "verify_joules": 3.0,
        role: None,
    }
    assert usage.joules_per_token is None


def test_a_proposal_that_came_out_empty_took_drafting_all_the_same() -> None:
    running = RunningUsage("bild", prompt_tokens=1)
    for outcome in (_outcome(1, 0, 0), _outcome(4, 3, 4), _outcome(1, 0, 0)):
        running.add(replace(outcome, draft_joules=0.5, verify_joules=1.0))
        usage = running.usage(0.1, 0.2)
        assert usage.draft_joules == usage.verify_joules / 2  # type: ignore[operator]
    assert (usage.draft_joules, usage.num_spec_steps) == (1.5, 1)


def test_what_was_not_drafted_took_no_drafting() -> None:
    running = RunningUsage("autoregressive", prompt_tokens=1)
    for _ in range(2):
        running.add(replace(_outcome(1, 0, 0), verify_joules=1.5))
    usage = running.usage(0.1, 0.2)
    assert (usage.draft_joules, usage.verify_joules, usage.joules_per_token) == (0.0, 3.0, 1.5)
    # Nothing is said of a system that measures nothing, nor of a text without any round.
    running.add(_outcome(1, 0, 0))
    for usage in (running.usage(0.1, 0.2), RunningUsage("mtad", 1).usage(0, 0)):
        assert (usage.draft_joules, usage.verify_joules, usage.joules_per_token) == (None, None, None)
