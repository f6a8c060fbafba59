"""What is compared does the same work: each peer against `LocalDecoder`, on the tiny pair."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

from tandem.bench.contender import Answer, Ask
from tandem.bench.ours import Local
from tandem.bench.pair import Pair
from tandem.bench.peers import Setup, load_peers
from tandem.bench.plan import Plan
from tandem.bench.runner import check_answers
from tandem.errors import InvalidArgument, InvariantBroken
from tandem.local import LocalDecoder
from tandem.tokenization import Tokenizer

LENGTHS = (9, 4, 12)
"""Of the texts: prompts and answers differ in length."""


@pytest.fixture(scope="module")
def pair(tiny_pair: tuple[Path, Path]) -> Pair:
    target, draft = tiny_pair
    return Pair(str(target), str(draft), "float32", 1, compile=False)


@pytest.fixture(scope="module")
def decoder(pair: Pair) -> LocalDecoder:
    return LocalDecoder(pair.target, pair.draft, dtype="float32")


def asks_of(pair: Pair) -> list[Ask]:
    tokenizer = Tokenizer.from_pretrained(pair.target)
    prompts = ("select name", "how many singers are there in each country?", "the quick brown fox; 012")
    return [
        Ask(tuple(tokenizer.encode(prompt)), length, seed)
        for seed, (prompt, length) in enumerate(zip(prompts, LENGTHS, strict=True))
    ]


def setup(pair: Pair, temperature: float) -> Setup:
    return Setup(pair, 4, temperature, 10, 0.9, max_concurrency=3, max_tokens=256)


async def answers_of(peer: str, pair: Pair, temperature: float, concurrency: int) -> list[Answer]:
    torch.set_num_threads(1)
    (contender,) = load_peers([peer], setup(pair, temperature))
    try:
        assert contender.serves(concurrency)
        return await contender.answer(asks_of(pair), concurrency)
    finally:
        await contender.close()


@pytest.mark.parametrize(
    ("peer", "concurrency"),
    [("generate", 1), ("assisted", 1), ("static-batch", 2), ("static-batch", 3), ("continuous-batching", 2)],
)
async def test_a_peer_writes_the_greedy_tokens_that_tandem_writes(
    pair: Pair, decoder: LocalDecoder, peer: str, concurrency: int
) -> None:
    """By methods that are lossless; the joint ones look for a more probable text than greedy decoding finds."""
    asks = asks_of(pair)
    answers = await answers_of(peer, pair, 0.0, concurrency)
    check_answers(peer, asks, answers)
    for method in ("autoregressive", "speculative"):
        ours = await Local(decoder, Plan().options(method)).answer(asks, concurrency)
        check_answers(method, asks, ours)
        assert [answer.token_ids for answer in ours] == [answer.token_ids for answer in answers]


@pytest.mark.parametrize("peer", ["generate", "static-batch", "assisted"])
async def test_a_peer_that_samples_keeps_to_each_requests_length(pair: Pair, peer: str) -> None:
    answers = await answers_of(peer, pair, 1.0, 3 if peer == "static-batch" else 1)
    check_answers(peer, asks_of(pair), answers)
    for answer in answers:
        times = [arrival.seconds for arrival in answer.arrivals]
        assert times == sorted(times)
        assert times[0] > 0


def test_answers_of_another_length_are_not_timed() -> None:
    ask = Ask((1, 2), 3, 0)
    with pytest.raises(InvariantBroken, match="2 tokens, 0 of them timed, where 3"):
        check_answers("x", [ask], [Answer((5, 6), ())])
    with pytest.raises(InvariantBroken, match="0 answers to 1"):
        check_answers("x", [ask], [])


def test_an_unknown_peer_is_named(pair: Pair) -> None:
    with pytest.raises(InvalidArgument, match="'vllm' is not known; expected generate, static-batch"):
        load_peers(["generate", "vllm"], setup(pair, 0.0))


def test_assisted_generation_drafts_as_many_tokens_as_tandem(pair: Pair) -> None:
    """At γ = 4 no arrival has more than five tokens, and some have more than one."""
    answers = asyncio.run(answers_of("assisted", pair, 0.0, 1))
    sizes = {arrival.num_tokens for answer in answers for arrival in answer.arrivals}
    assert max(sizes) <= 5
    assert max(sizes) > 1
