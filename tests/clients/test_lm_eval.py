"""lm-evaluation-harness against a real stack: `local-completions`, unchanged, scores as plain `transformers` does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

pytest.importorskip("lm_eval")

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import AutoModelForCausalLM, AutoTokenizer

from tandem.evaluation.text_to_sql import held_out
from tandem.models import shipped
from tests.e2e.running import Up, running

TOLERANCE = 1e-3
MAX_LENGTH = 1019
"""What the shipped target holds, less the one draft length that no text may overhang."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The shipped pair, served in float32."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with running(tmp_path_factory.mktemp("stack"), "--dtype", "float32") as up:
        yield up


@cache
def plain() -> Any:
    """The target as `transformers` runs it."""
    model: Any = AutoModelForCausalLM.from_pretrained(shipped("target"), dtype=torch.float32)
    return model.eval()


@cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(shipped("target"))


@torch.inference_mode()
def scored(context: list[int], continuation: list[int]) -> tuple[float, bool]:
    """Log-likelihood of the continuation, and whether it is what greedy decoding would say."""
    rows = plain()(torch.tensor([context + continuation])).logits[0].double().log_softmax(-1)
    rows = rows[len(context) - 1 : -1]
    chosen = rows[torch.arange(len(continuation)), torch.tensor(continuation)]
    return float(chosen.sum()), rows.argmax(-1).tolist() == continuation


def harness(stack: Up, **options: Any) -> LocalCompletionsAPI:
    """As `lm_eval --model local-completions --model_args base_url=…,tokenizer=…` makes it."""
    arguments: dict[str, Any] = {
        "base_url": f"{stack.told['http'][0]}/v1/completions",
        "model": "target",
        "tokenizer": str(shipped("target")),
        "max_length": MAX_LENGTH,
        "max_retries": 1,
        "timeout": 120,
    }
    return LocalCompletionsAPI(**arguments | options)


def requests(kind: str, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=each, idx=0)  # type: ignore[arg-type]
        for each in arguments
    ]


def pairs() -> list[tuple[str, str]]:
    """Contexts with a good continuation and a bad one, as tasks with choices have them."""
    found: list[tuple[str, str]] = []
    for example in held_out(6):
        found += [(example.prompt, f" {example.gold_sql}"), (example.prompt, " drop table 東京 🚀")]
    return found


CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"batch_size": 4},
    {"num_concurrent": 4},
    {"num_concurrent": 3, "batch_size": 2, "tokenized_requests": False},
    {"tokenized_requests": False, "tokenizer_backend": "huggingface"},
]


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
def test_log_likelihoods_are_those_of_transformers(stack: Up, options: dict[str, Any]) -> None:
    model = harness(stack, **options)
    asked = pairs()
    found = model.loglikelihood(requests("loglikelihood", asked), disable_tqdm=True)
    assert len(found) == len(asked)
    any_greedy = False
    for (context, continuation), (log_likelihood, greedy) in zip(asked, found, strict=True):
        read, following = model._encode_pair(context, continuation)
        expected, expected_greedy = scored(read, following)
        assert log_likelihood == pytest.approx(expected, abs=TOLERANCE)
        assert greedy == expected_greedy
        any_greedy |= greedy
    assert any_greedy, "some continuation is the model's own, or nothing was told apart"


def test_an_empty_context_is_the_end_token(stack: Up) -> None:
    model = harness(stack)
    ((found, _),) = model.loglikelihood(requests("loglikelihood", [("", "SELECT name")]), disable_tqdm=True)
    prefix = [tokenizer().eos_token_id]
    assert found == pytest.approx(scored(prefix, tokenizer()("SELECT name").input_ids)[0], abs=TOLERANCE)


def test_rolling_log_likelihoods_are_those_of_transformers(stack: Up) -> None:
    texts = [example.prompt for example in held_out(3)]
    found = harness(stack).loglikelihood_rolling(requests("loglikelihood_rolling", [(text,) for text in texts]))
    for text, log_likelihood in zip(texts, found, strict=True):
        expected = scored([tokenizer().eos_token_id], tokenizer()(text).input_ids)[0]
        assert log_likelihood == pytest.approx(expected, abs=TOLERANCE)


def test_a_text_of_several_windows_is_scored_whole(stack: Up) -> None:
    text = "\n".join(example.prompt for example in held_out(12))
    ids, model = tokenizer()(text).input_ids, harness(stack, max_length=200)
    windows = get_rolling_token_windows(ids, model.prefix_token_id, max_seq_len=model.max_length - 1, context_len=1)
    parts = [make_disjoint_window(window) for window in windows]
    assert len(parts) > 2
    (found,) = model.loglikelihood_rolling(requests("loglikelihood_rolling", [(text,)]))
    assert found == pytest.approx(sum(scored(*part)[0] for part in parts), abs=TOLERANCE * len(parts))


@pytest.mark.parametrize("options", [{}, {"num_concurrent": 3}, {"tokenized_requests": False}], ids=str)
def test_texts_are_generated_until_a_stop_string(stack: Up, options: dict[str, Any]) -> None:
    prompts = [example.prompt for example in held_out(4)]
    settings = {"until": ["\n\n"], "max_gen_toks": 48, "temperature": 0.0, "do_sample": False}
    texts = harness(stack, **options).generate_until(
        requests("generate_until", [(prompt, settings) for prompt in prompts]), disable_tqdm=True
    )
    assert len(texts) == len(prompts)
    assert all("select" in text.lower() for text in texts)
    assert all("<|end|>" not in text for text in texts)
