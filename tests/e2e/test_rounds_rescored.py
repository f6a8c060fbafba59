"""Every traced round of the shipped pair obeys its rule when scored again by plain `transformers` calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from tandem import LocalDecoder
from tandem.evaluation.text_to_sql import held_out
from tandem.generation import Generation, Round
from tandem.models import shipped

TOP_K, TOP_P, THRESHOLD = 10, 0.9, 0.5


@cache
def model(which: str) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(shipped(which), dtype=torch.float32)  # type: ignore[arg-type]
    return loaded.eval()


@pytest.fixture(scope="module")
def decoder() -> LocalDecoder:
    return LocalDecoder(dtype="float32")


def warped_log_probs(logits: Sequence[float]) -> dict[int, float]:
    """Top-k, then top-p, written down as the definition says; by token, positive probabilities only."""
    ranked = sorted(range(len(logits)), key=lambda token: (-logits[token], token))[:TOP_K]
    weights = [math.exp(logits[token] - logits[ranked[0]]) for token in ranked]
    total = sum(weights)
    kept: list[int] = []
    mass = 0.0
    for token, weight in zip(ranked, weights, strict=True):
        kept.append(token)
        mass += weight / total
        if mass >= TOP_P:
            break
    kept_weights = weights[: len(kept)]
    return {token: math.log(weight / sum(kept_weights)) for token, weight in zip(kept, kept_weights, strict=True)}


@torch.inference_mode()
def next_distributions(which: str, text: Sequence[int], tail: Sequence[int]) -> list[dict[int, float]]:
    """The warped distribution after ``text`` and after each token of ``tail``, from one plain forward pass."""
    logits = model(which)(torch.tensor([[*text, *tail]])).logits[0].double()
    return [warped_log_probs(row.tolist()) for row in logits[len(text) - 1 :]]


def paths(found: Round) -> list[list[int]]:
    """Node indices from the root to each node."""
    result: list[list[int]] = []
    for node, parent in enumerate(found.parents):
        result.append([*(result[parent] if parent >= 0 else []), node])
    return result


def joint(which: str, text: Sequence[int], found: Round) -> list[float]:
    scores: list[float] = []
    for path in paths(found):
        tokens = [found.token_ids[node] for node in path]
        steps = next_distributions(which, text, tokens)
        scores.append(sum(step.get(token, -math.inf) for step, token in zip(steps, tokens, strict=False)))
    return scores


def check_support(text: Sequence[int], found: Round) -> None:
    """Whatever was emitted has positive probability under the warped target."""
    steps = next_distributions("target", text, found.emitted_token_ids)
    extra = found.emitted_token_ids[-1]
    assert extra in steps[len(found.emitted_token_ids) - 1]


def rounds_with_text(generation: Generation) -> list[tuple[list[int], Round]]:
    text = [*generation.prompt_token_ids, *generation.token_ids]
    # The last round may be cut where the text ends, and is then not the round that was judged.
    return [(text[: found.position], found) for found in generation.rounds[:-1]]


@pytest.mark.parametrize("index", [0, 1, 2])
def test_mtad_keeps_the_longest_prefix_that_its_joint_likelihood_supports(decoder: LocalDecoder, index: int) -> None:
    generation = decoder.generate(held_out(3)[index].prompt, method="mtad", seed=index, trace=True)
    assert generation.rounds
    for text, found in rounds_with_text(generation):
        target, draft = joint("target", text, found), joint("draft", text, found)
        assert target == pytest.approx(found.target_joint_log_probs, abs=2e-3)
        assert draft == pytest.approx(found.draft_joint_log_probs, abs=2e-3)
        passing = [depth for depth in range(len(target)) if target[depth] - draft[depth] > math.log(THRESHOLD)]
        kept = passing[-1] + 1 if passing else 0
        assert found.accepted_token_ids == found.token_ids[:kept]
        if kept:
            assert target[kept - 1] > draft[kept - 1] + math.log(THRESHOLD)
        check_support(text, found)


@pytest.mark.parametrize("index", [0, 1])
def test_mmtad_keeps_the_deepest_likeliest_path_above_the_bar(decoder: LocalDecoder, index: int) -> None:
    generation = decoder.generate(held_out(2)[index].prompt, method="mmtad", seed=index, trace=True)
    assert generation.rounds
    for text, found in rounds_with_text(generation):
        routes = paths(found)
        target, draft = joint("target", text, found), joint("draft", text, found)
        assert target == pytest.approx(found.target_joint_log_probs, abs=2e-3)
        assert draft == pytest.approx(found.draft_joint_log_probs, abs=2e-3)
        deepest = max(len(route) for route in routes)
        best = max((node for node, route in enumerate(routes) if len(route) == deepest), key=lambda node: draft[node])
        bars = [math.log(THRESHOLD) + draft[node] for node in routes[best]]
        passing = [node for node, route in enumerate(routes) if target[node] > bars[len(route) - 1]]
        if passing:
            depth = max(len(routes[node]) for node in passing)
            chosen = max((node for node in passing if len(routes[node]) == depth), key=lambda node: target[node])
            expected = tuple(found.token_ids[node] for node in routes[chosen])
        else:
            expected = ()
        assert found.accepted_token_ids == expected
        check_support(text, found)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_typical_keeps_what_clears_the_bar_of_the_target_s_entropy(decoder: LocalDecoder, index: int) -> None:
    generation = decoder.generate(held_out(3)[index].prompt, method="typical", seed=index, trace=True)
    assert generation.rounds
    for text, found in rounds_with_text(generation):
        kept = 0
        for step, token in zip(next_distributions("target", text, found.token_ids), found.token_ids, strict=False):
            entropy = -sum(math.exp(log_prob) * log_prob for log_prob in step.values())
            if math.exp(step.get(token, -math.inf)) <= min(0.09, 0.3 * math.exp(-entropy)):
                break
            kept += 1
        assert found.accepted_token_ids == found.token_ids[:kept]
        check_support(text, found)


def test_bild_drafts_while_the_draft_is_sure_and_keeps_what_the_target_finds_likely(decoder: LocalDecoder) -> None:
    lengths: list[int] = []
    for index, example in enumerate(held_out(12)):
        generation = decoder.generate(example.prompt, method="bild", seed=index, trace=True)
        for text, found in rounds_with_text(generation):
            drafted = found.token_ids
            sure = [max(map(math.exp, step.values())) >= 0.6 for step in next_distributions("draft", text, drafted)]
            assert all(sure[: len(drafted)])
            assert len(drafted) == 4 or not sure[len(drafted)]
            target = next_distributions("target", text, drafted)
            kept = 0
            while kept < len(drafted) and target[kept].get(drafted[kept], -math.inf) >= -2:
                kept += 1
            assert found.accepted_token_ids == drafted[:kept]
            check_support(text, found)
            lengths.append(len(drafted))
    assert set(lengths) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("method", ["speculative", "block", "coupled", "specinfer"])
def test_lossless_rounds_keep_a_drafted_path_and_stay_in_the_target_s_support(
    decoder: LocalDecoder, method: str
) -> None:
    generation = decoder.generate(held_out(1)[0].prompt, method=method, seed=7, trace=True)
    assert generation.rounds
    for text, found in rounds_with_text(generation):
        drafted = {tuple(found.token_ids[node] for node in route) for route in paths(found)} | {()}
        assert found.accepted_token_ids in drafted
        steps = next_distributions("target", text, found.emitted_token_ids)
        for step, token in zip(steps, found.emitted_token_ids, strict=False):
            assert token in step


def test_log_probabilities_are_the_plain_model_s(decoder: LocalDecoder) -> None:
    generation = decoder.generate(held_out(1)[0].prompt, method="mtad", seed=1)
    text = [*generation.prompt_token_ids, *generation.token_ids]
    with torch.inference_mode():
        log_probs = model("target")(torch.tensor([text])).logits[0].double().log_softmax(-1)
    start = len(generation.prompt_token_ids)
    total = -sum(float(log_probs[at - 1, text[at]]) for at in range(start, len(text)))
    assert generation.usage.output_negative_log_likelihood == pytest.approx(total, abs=1e-2)
