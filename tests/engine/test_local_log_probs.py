"""`LocalDecoder` tells of generated tokens what it tells of the same text when it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem import LocalDecoder
from tandem.errors import InvalidArgument

PROMPT = "select name, age from people"


@pytest.fixture(scope="module")
def decoder(tiny_pair: tuple[Path, Path]) -> LocalDecoder:
    return LocalDecoder(*tiny_pair, dtype="float32", num_kv_slots=1024)


@pytest.mark.parametrize("method", ["mtad", "mmtad", "specinfer", "mtjd", "autoregressive"])
def test_a_text_is_as_probable_generated_as_given(decoder: LocalDecoder, method: str) -> None:
    made = decoder.generate(PROMPT, seed=3, max_tokens=30, method=method, num_top_log_probs=4, presence_penalty=0.5)
    start = len(made.prompt_token_ids)
    score = decoder.score([*made.prompt_token_ids, *made.token_ids], num_top_log_probs=4)
    assert score.log_probs[start - 1 :] == pytest.approx(made.log_probs, abs=1e-4)
    assert score.log_likelihood == pytest.approx(sum(score.log_probs))
    assert -sum(made.log_probs) == pytest.approx(made.usage.output_negative_log_likelihood)
    for generated, given in zip(made.top_log_probs, score.top_log_probs[start - 1 :], strict=True):
        assert [value for _, value in generated] == pytest.approx([value for _, value in given], abs=1e-4)
    with decoder.stream(PROMPT, seed=3, max_tokens=30, method=method, num_top_log_probs=4) as stream:
        assert all(len(part.top_log_probs) == len(part.token_ids) for part in stream)
    assert decoder.generate(PROMPT, seed=3, max_tokens=4).top_log_probs == ()


def test_what_cannot_be_scored_is_refused_by_name(decoder: LocalDecoder) -> None:
    for prompt, num_top, named in (
        ([], 0, "prompt"),
        ([10**6], 0, "prompt"),
        ([1] * 10**5, 0, "the text has 100000 tokens"),
        ("a", 21, "top"),
    ):
        with pytest.raises(InvalidArgument, match=named):
            decoder.score(prompt, num_top_log_probs=num_top)
