"""Log-probabilities of a real stack, against plain `transformers` on the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import OpenAI
from transformers import AutoModelForCausalLM

from tandem import AsyncClient, Client
from tandem.errors import InvalidArgument
from tandem.tokenization import Tokenizer
from tests.e2e.running import Up

PROMPT = "select name, age from people; naïve 🚀"
TOLERANCE = 1e-3


@pytest.fixture
def api(stack: Up) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stack.told['http'][0]}/v1", api_key="none", max_retries=0, timeout=60) as api:
        yield api


@pytest.fixture(scope="module")
def plain(tiny_pair: tuple[Path, Path]) -> Any:
    """Token ids -> the library's own log-probabilities after each, `[tokens, vocab]`."""
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_pair[0], dtype=torch.float32)

    @torch.inference_mode()
    def log_probs(token_ids: Any) -> torch.Tensor:
        found: torch.Tensor = model.eval()(torch.tensor([list(token_ids)])).logits[0].double().log_softmax(-1)
        return found

    return log_probs


@pytest.mark.parametrize("max_tokens", [0, 1, 12])
@pytest.mark.parametrize("stream", [False, True])
def test_an_echoed_prompt_has_the_librarys_log_probabilities(
    api: OpenAI, tiny_pair: tuple[Path, Path], plain: Any, max_tokens: int, stream: bool
) -> None:
    tokenizer = Tokenizer.from_pretrained(tiny_pair[0])
    ids = tokenizer.encode(PROMPT)
    asked: dict[str, Any] = {"model": "target", "prompt": ids, "echo": True, "logprobs": 3, "max_tokens": max_tokens}
    asked |= {"temperature": 0, "seed": 1, "extra_body": {"ignore_eos": True}}
    if stream:
        told = [chunk.choices[0] for chunk in api.completions.create(**asked, stream=True)]
    else:
        told = [api.completions.create(**asked).choices[0]]
    text = "".join(choice.text for choice in told)
    tokens = [token for choice in told for token in choice.logprobs.tokens]
    values = [value for choice in told for value in choice.logprobs.token_logprobs]
    tops = [top for choice in told for top in choice.logprobs.top_logprobs]
    offsets = [offset for choice in told for offset in choice.logprobs.text_offset]
    assert text.startswith(PROMPT)
    assert "".join(tokens) == text
    assert offsets == [sum(map(len, tokens[:at])) for at in range(len(tokens))]
    assert len(tokens) == len(values) == len(tops) == len(ids) + max_tokens
    assert values[0] is tops[0] is None
    rows = plain(ids)
    for place in range(1, len(ids)):
        assert values[place] == pytest.approx(float(rows[place - 1, ids[place]]), abs=TOLERANCE)
        best = torch.topk(rows[place - 1], 3)
        found = sorted(tops[place].values(), reverse=True)[:3]
        assert found == pytest.approx(best.values.tolist(), abs=TOLERANCE)
        assert tops[place][tokens[place]] == values[place]
    assert told[-1].finish_reason == "length"


def test_the_client_scores_what_it_generated(client: Client, tiny_pair: tuple[Path, Path], plain: Any) -> None:
    made = client.generate(PROMPT, seed=3, max_tokens=40, ignore_eos=True, num_top_log_probs=5)
    text = [*made.prompt_token_ids, *made.token_ids]
    score = client.score(text, num_top_log_probs=5)
    rows = plain(text)
    expected = [float(rows[place - 1, text[place]]) for place in range(1, len(text))]
    assert list(score.log_probs) == pytest.approx(expected, abs=TOLERANCE)
    assert list(made.log_probs) == pytest.approx(expected[len(made.prompt_token_ids) - 1 :], abs=TOLERANCE)
    for row, given in zip(rows, score.top_log_probs, strict=False):
        assert [value for _, value in given] == pytest.approx(torch.topk(row, 5).values.tolist(), abs=TOLERANCE)
    start = len(made.prompt_token_ids) - 1
    for generated, given in zip(made.top_log_probs, score.top_log_probs[start:], strict=True):
        assert [value for _, value in generated] == pytest.approx([value for _, value in given], abs=TOLERANCE)
    greedy = [int(row.argmax()) == token for row, token in zip(rows, text[1:], strict=False)]
    assert sum((rank == 1) != best for rank, best in zip(score.ranks, greedy, strict=True)) == 0
    assert client.score(PROMPT).token_ids == made.prompt_token_ids


async def test_the_asyncio_client_scores_beside_generating(stack: Up) -> None:
    async with AsyncClient(stack.told["grpc"]) as client:
        made = await client.generate(PROMPT, seed=3, max_tokens=20)
        score = await client.score([*made.prompt_token_ids, *made.token_ids])
        assert score.log_probs[-len(made.token_ids) :] == pytest.approx(made.log_probs, abs=TOLERANCE)
        with pytest.raises(InvalidArgument, match="prompt"):
            await client.score([10**6])
