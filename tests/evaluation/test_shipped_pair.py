"""The shipped pair: small enough, alike in tokens, and apart in quality by as much as its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from tandem.evaluation.text_to_sql import execution_match, held_out

MODELS = Path(__file__).parents[2] / "models"
ROLES = ("target", "draft")


def test_weights_are_bfloat16_and_under_15_megabytes_together() -> None:
    weights = [MODELS / role / "model.safetensors" for role in ROLES]
    assert sum(path.stat().st_size for path in weights) < 15_000_000
    for path in weights:
        with safe_open(path, framework="pt") as file:
            assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_both_models_read_and_end_with_the_same_tokens() -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (MODELS / "target" / name).read_bytes() == (MODELS / "draft" / name).read_bytes()
    for role in ROLES:
        config = json.loads((MODELS / role / "config.json").read_text())
        tokenizer = AutoTokenizer.from_pretrained(MODELS / role)
        assert config["vocab_size"] == len(tokenizer)
        assert config["eos_token_id"] == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|end|>")


def test_the_target_is_good_and_the_draft_far_behind() -> None:
    examples = held_out(100)
    accuracies = {}
    for role in ROLES:
        tokenizer = AutoTokenizer.from_pretrained(MODELS / role)
        model = AutoModelForCausalLM.from_pretrained(MODELS / role, dtype=torch.bfloat16)
        inputs = tokenizer([example.prompt for example in examples], return_tensors="pt", padding=True)
        output = model.generate(**inputs, max_new_tokens=64, do_sample=False)
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        accuracies[role] = sum(map(execution_match, examples, texts)) / len(examples)
    assert accuracies["target"] > 0.65
    assert accuracies["draft"] < accuracies["target"] - 0.1


@pytest.mark.parametrize("role", ROLES)
def test_any_text_survives_the_tokenizer(role: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODELS / role)
    text = "  Größe\t= 'a_b' ?! 東京 \n\n12345 team_ids"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
