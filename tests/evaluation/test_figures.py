"""Figures against plain computations on records that are written out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tandem.evaluation.figures import figures_of
from tandem.evaluation.records import Record
from tests.evaluation.made import record, run_of, shown


def varied(label: str, seed: int, num_samples: int = 40, repetitions: int = 2, right: float = 0.5) -> list[Record]:
    generator = np.random.default_rng(seed)
    found = []
    for repetition in range(repetitions):
        for index in range(num_samples):
            tokens, passes = int(generator.integers(4, 30)), int(generator.integers(2, 9))
            found.append(
                record(
                    configuration=label,
                    sample=f"s{index}",
                    repetition=repetition,
                    block=index // 8,
                    block_seconds=0.1 + 0.01 * (index // 8),
                    text=str(generator.integers(3)),
                    usage={
                        "completion_tokens": tokens,
                        "num_target_passes": passes,
                        "output_negative_log_likelihood": float(generator.gamma(2.0) / 5),
                    },
                    scores={"execution_accuracy": float(generator.random() < right)},
                )
            )
    return found


def test_ratios_are_weighted_by_token_and_by_round() -> None:
    records = varied("mtad", 1)
    figures = figures_of(records, {}, "execution_accuracy", None)
    usages = [r.turns[0].usage for r in records]
    tokens = sum(u["completion_tokens"] for u in usages)
    nll = sum(u["output_negative_log_likelihood"] for u in usages)
    assert figures.output_perplexity.value == pytest.approx(math.exp(nll / tokens))
    assert figures.block_efficiency.value == pytest.approx(tokens / sum(u["num_target_passes"] for u in usages))
    assert figures.accuracy is not None
    assert figures.accuracy.value == pytest.approx(sum(r.scores["execution_accuracy"] for r in records) / 80)
    assert figures.acceptance_rate is not None
    assert figures.acceptance_rate.value == 0.75
    assert figures.mean_acceptance_length == 2.5
    assert figures.acceptance_histogram == (0, 160, 160)
    assert figures.acceptance_by_position == (1.0, 0.5)
    assert figures.output_perplexity.low is not None
    assert figures.output_perplexity.high is not None
    assert figures.output_perplexity.low < figures.output_perplexity.value < figures.output_perplexity.high


def test_perplexity_by_sample_averages_the_answers_own() -> None:
    likelihoods = [(2.0, 4), (1.0, 10), (9.0, 10)]
    records = [
        record(sample=f"s{index}", usage={"output_negative_log_likelihood": nll, "completion_tokens": tokens})
        for index, (nll, tokens) in enumerate(likelihoods)
    ]
    figures = figures_of(records, {}, None, None)
    expected = sum(math.exp(nll / tokens) for nll, tokens in likelihoods) / 3
    assert figures.output_perplexity_by_sample.value == pytest.approx(expected)


def test_speed_is_all_tokens_over_the_time_of_the_blocks_once_each() -> None:
    records = varied("mtad", 2, num_samples=16, repetitions=1)
    tokens = sum(r.turns[0].usage["completion_tokens"] for r in records)
    figures = figures_of(records, {}, None, None)
    assert figures.tokens_per_second.value == pytest.approx(tokens / (0.1 + 0.11))
    assert figures.tokens_per_second.low is None  # of two blocks
    assert figures_of(varied("mtad", 2), {}, None, None).tokens_per_second.low is not None


def test_blocks_with_traced_samples_do_not_count_for_speed_where_there_are_others() -> None:
    slow = record(sample="a", block=0, block_seconds=9.0, rounds=[shown()])
    fast = record(sample="b", block=1, block_seconds=0.5)
    assert figures_of([slow, fast], {}, None, None).tokens_per_second.value == 20.0
    assert figures_of([slow], {}, None, None).tokens_per_second.value == pytest.approx(10 / 9)


def test_a_block_that_was_resumed_counts_both_of_its_times() -> None:
    records = [record(sample="a", block_seconds=0.5), record(sample="b", block_seconds=1.5)]
    assert figures_of(records, {}, None, None).tokens_per_second.value == 10.0


def test_a_score_that_is_alike_for_all_claims_no_certainty() -> None:
    figures = figures_of([record(sample="a"), record(sample="b")], {}, "execution_accuracy", None)
    assert figures.accuracy is not None
    assert (figures.accuracy.value, figures.accuracy.low, figures.accuracy.high) == (1.0, None, None)


def test_stages_are_medians_over_traced_rounds() -> None:
    rounds = [shown(stage_seconds={"draft": seconds, "forward": 1.0}) for seconds in (1.0, 5.0, 2.0)]
    assert figures_of([record(rounds=rounds)], {}, None, None).stage_seconds == {"draft": 2.0, "forward": 1.0}


def test_joules_are_measured_for_all_answers_or_not_at_all() -> None:
    measured = [record(sample="a", usage={"draft_joules": 2.0, "verify_joules": 8.0})]
    figures = figures_of(measured, {}, None, None)
    assert (figures.draft_joules_per_token, figures.verify_joules_per_token) == (0.2, 0.8)
    assert figures.joules_per_token == 1.0
    partly = [*measured, record(sample="b", usage={"verify_joules": 8.0})]
    figures = figures_of(partly, {}, None, None)
    assert (figures.draft_joules_per_token, figures.joules_per_token) == (None, None)
    assert figures.verify_joules_per_token == 0.8


def test_differences_are_paired_by_sample() -> None:
    base = varied("autoregressive", 3)
    better = [
        record(
            configuration="mtad",
            sample=r.sample,
            repetition=r.repetition,
            block=r.block,
            block_seconds=r.block_seconds / 2,
            text=r.turns[0].text,
            usage=r.turns[0].usage
            | {"output_negative_log_likelihood": 0.5 * r.turns[0].usage["output_negative_log_likelihood"]},
            scores={"execution_accuracy": max(r.scores["execution_accuracy"], float(r.sample < "s2"))},
        )
        for r in reversed(base)
    ]
    differences = figures_of(better, {}, "execution_accuracy", base).versus_baseline
    assert differences is not None
    gained = sum(r.scores["execution_accuracy"] for r in better) - sum(r.scores["execution_accuracy"] for r in base)
    gained /= len(base)
    assert gained > 0
    assert differences.scores["execution_accuracy"].value == pytest.approx(gained)
    assert differences.score_p_values["execution_accuracy"] < 0.05
    assert differences.same_answers == 1.0
    ratio = differences.tokens_per_second_ratio
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))  # paired: the same in every block
    # exp(x / 2) - 1 over exp(x) - 1 is a little under one half
    assert differences.excess_perplexity_reduction.value == pytest.approx(0.5, abs=0.02)
    reduction = differences.excess_perplexity_reduction
    assert reduction.low is not None
    assert reduction.high is not None
    assert reduction.high - reduction.low < 0.01


def test_a_method_against_itself_differs_by_nothing() -> None:
    records = varied("mtad", 4)
    differences = figures_of(records, {}, "execution_accuracy", records).versus_baseline
    assert differences is not None
    accuracy = differences.scores["execution_accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.high) == (0.0, 0.0, 0.0)
    assert differences.score_p_values["execution_accuracy"] == 1.0


def test_a_summary_is_json_whatever_there_is(tmp_path: Path) -> None:
    failed = [record(configuration="block", turns=(), error="no", scores={})]
    run = run_of(tmp_path, [*varied("mtad", 5, num_samples=1, repetitions=1), *failed])
    summary = run.summary()
    summary.write(tmp_path)
    told = json.loads((tmp_path / "summary.json").read_text())
    assert [figures["label"] for figures in told["figures"]] == ["mtad", "block"]
    assert told["figures"][1]["output_perplexity"]["value"] is None
    assert told["figures"][1]["num_failed"] == 1
    assert told["baseline"] == "mtad"
