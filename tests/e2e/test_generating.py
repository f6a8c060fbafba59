"""Texts through the whole stack."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tandem import AsyncClient, Client, Generation
from tandem.decoding.methods import METHODS
from tandem.decoding.values import RunningDigest
from tandem.errors import Cancelled, InvalidArgument, NotFound
from tandem.generation import Options
from tandem.tokenization import Tokenizer
from tests.e2e.running import Up

PROMPT = "select name, age from people"
EOS = 1


@pytest.fixture(scope="module")
def tokenizer(tiny_pair: tuple[Path, Path]) -> Tokenizer:
    return Tokenizer.from_pretrained(tiny_pair[0])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_generates(client: Client, tokenizer: Tokenizer, method: str) -> None:
    made = client.generate(PROMPT, method=method, seed=11, max_tokens=21, ignore_eos=True, trace=True)
    assert (made.method, made.usage.method, made.seed, made.finish_reason) == (method, method, 11, "length")
    assert list(made.prompt_token_ids) == tokenizer.encode(PROMPT)
    assert len(made.token_ids) == made.usage.completion_tokens == 21
    assert made.text == tokenizer.decode(made.token_ids)
    assert tuple(token for traced in made.rounds for token in traced.emitted_token_ids) == made.token_ids
    positions = [traced.position for traced in made.rounds]
    ends = [traced.position + len(traced.emitted_token_ids) for traced in made.rounds]
    assert positions == [len(made.prompt_token_ids), *ends[:-1]]
    assert math.isclose(made.usage.output_perplexity, math.exp(made.usage.output_negative_log_likelihood / 21))
    if METHODS[method].target_only:
        assert made.usage.num_spec_steps == made.usage.num_draft_tokens == 0
    else:
        assert made.usage.num_target_passes == len(made.rounds)
        drafted = [traced for traced in made.rounds if traced.token_ids]
        assert made.usage.num_spec_steps == len(drafted) == sum(made.usage.acceptance_histogram)
        assert len(drafted) == len(made.rounds) or method == "bild"
        assert all(len(traced.token_ids) == len(traced.target_joint_log_probs) for traced in made.rounds)


@pytest.mark.parametrize("method", ["typical", "bild"])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_lossy_rules_say_by_services_what_they_say_in_one_process(
    client: Client, tiny_pair: tuple[Path, Path], method: str, temperature: float
) -> None:
    from tandem import LocalDecoder

    decoder = LocalDecoder(*tiny_pair, dtype="float32")
    drafted: list[int] = []
    for seed in range(3):
        asked = Options(
            method=method, seed=seed, temperature=temperature, max_tokens=40, ignore_eos=True, trace=True, top_k=3
        )
        here, there = decoder.generate(PROMPT, **asked), client.generate(PROMPT, **asked)
        assert there.token_ids == here.token_ids
        assert [traced.token_ids for traced in there.rounds] == [traced.token_ids for traced in here.rounds]
        assert there.usage.acceptance_histogram == here.usage.acceptance_histogram
        drafted += [len(traced.token_ids) for traced in there.rounds]
    if method == "bild":
        assert 0 in drafted
        assert any(drafted)
    else:
        assert set(drafted) == {4}


def test_greedy_is_the_same_by_every_lossless_method(client: Client) -> None:
    texts = {
        name: client.generate(PROMPT, method=name, temperature=0, max_tokens=24).token_ids
        for name, method in METHODS.items()
        if method.lossless
    }
    assert len(set(texts.values())) == 1, texts


@pytest.mark.parametrize("seed", range(4))
def test_coupled_is_autoregressive_token_by_token(client: Client, seed: int) -> None:
    alone = client.generate(PROMPT, method="autoregressive", seed=seed, max_tokens=32)
    for draft_length in (2, 5):
        coupled = client.generate(PROMPT, method="coupled", seed=seed, max_tokens=32, draft_length=draft_length)
        assert coupled.token_ids == alone.token_ids
        assert coupled.usage.output_perplexity == pytest.approx(alone.usage.output_perplexity, rel=1e-3)


@pytest.mark.parametrize("method", ["autoregressive", "block", "specinfer", "typical", "bild", "mtad", "mmtad"])
def test_a_seed_gives_one_text_alone_or_among_others(client: Client, method: str) -> None:
    def ask(seed: int) -> Generation:
        return client.generate(PROMPT, method=method, seed=seed, max_tokens=24)

    alone = ask(5)
    with ThreadPoolExecutor(9) as threads:
        crowd = list(threads.map(ask, range(1, 10)))
    assert crowd[4].token_ids == alone.token_ids
    assert len({made.token_ids for made in crowd}) == len(crowd)


def test_a_seed_is_chosen_and_told_where_none_is_given(client: Client) -> None:
    first, second = client.generate(PROMPT, max_tokens=16), client.generate(PROMPT, max_tokens=16)
    assert first.method == "mtad"
    assert first.seed != second.seed
    assert client.generate(PROMPT, max_tokens=16, seed=first.seed).token_ids == first.token_ids


@pytest.mark.parametrize("method", ["coupled", "mtad", "mmtad"])
def test_the_services_decode_what_one_process_decodes(
    client: Client, tiny_pair: tuple[Path, Path], method: str
) -> None:
    from tandem import LocalDecoder

    local = LocalDecoder(*tiny_pair, dtype="float32").generate(PROMPT, method=method, seed=3, max_tokens=24)
    served = client.generate(PROMPT, method=method, seed=3, max_tokens=24)
    assert (served.token_ids, served.text, served.finish_reason) == (local.token_ids, local.text, local.finish_reason)
    assert served.usage.acceptance_histogram == local.usage.acceptance_histogram


@pytest.mark.parametrize("method", ["mtad", "mmtad", "block", "mtjd"])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_a_bias_bans_and_forces(client: Client, method: str, temperature: float) -> None:
    def tokens(logit_bias: dict[int, float]) -> tuple[int, ...]:
        return client.generate(
            PROMPT,
            method=method,
            seed=6,
            temperature=temperature,
            max_tokens=30,
            ignore_eos=True,
            logit_bias=logit_bias,
        ).token_ids

    favourite = max(free := tokens({}), key=free.count)
    assert favourite not in tokens({favourite: -100})
    assert set(tokens({favourite: 100})) == {favourite}
    end = client.generate(PROMPT, method=method, max_tokens=30, logit_bias={EOS: 100})
    assert (end.token_ids, end.finish_reason, end.text) == ((EOS,), "stop", "")


@pytest.mark.parametrize("method", ["autoregressive", "coupled", "specinfer", "mtad"])
def test_penalties_say_by_services_what_they_say_in_one_process(
    client: Client, tiny_pair: tuple[Path, Path], method: str
) -> None:
    from tandem.local import LocalDecoder

    options: Options = {
        "method": method,
        "seed": 3,
        "max_tokens": 60,
        "ignore_eos": True,
        "presence_penalty": 1.2,
        "frequency_penalty": 0.4,
        "logit_bias": {7: 2.0, 11: -3.0},
    }
    made, local = client.generate(PROMPT, **options), LocalDecoder(*tiny_pair).generate(PROMPT, **options)
    assert made.token_ids == local.token_ids
    assert made.usage.output_negative_log_likelihood == pytest.approx(local.usage.output_negative_log_likelihood)
    greedy: Options = {"method": method, "temperature": 0.0, "max_tokens": 60, "ignore_eos": True}
    plain, varied = (client.generate(PROMPT, frequency_penalty=value, **greedy).token_ids for value in (0.0, 2.0))
    assert len(set(varied)) > len(set(plain))


def test_parts_follow_on_each_other_and_carry_what_resuming_asks_for(client: Client) -> None:
    with client.stream(PROMPT, seed=2, max_tokens=40, ignore_eos=True) as stream:
        parts = list(stream)
    whole = stream.generation
    text = RunningDigest(whole.prompt_token_ids)
    position = len(whole.prompt_token_ids)
    for part in parts:
        assert part.position == position
        assert part.digest == text.extend(part.token_ids)
        assert len(part.log_probs) == len(part.token_ids)
        position += len(part.token_ids)
    middle = parts[len(parts) // 2]
    with client.resume(whole.session_id, middle.position + len(middle.token_ids), middle.digest) as rest:
        resumed = [token for part in rest for token in part.token_ids]
    assert tuple(resumed) == whole.token_ids[middle.position + len(middle.token_ids) - len(whole.prompt_token_ids) :]
    assert rest.generation.finish_reason == "length"


def test_a_stop_string_ends_the_text_before_itself(client: Client) -> None:
    whole = client.generate(PROMPT, seed=4, max_tokens=60, ignore_eos=True)
    stop = whole.text[10:12]
    stopped = client.generate(PROMPT, seed=4, max_tokens=60, ignore_eos=True, stop=[stop])
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert len(stopped.token_ids) < len(whole.token_ids)


def test_cancelling_ends_a_stream(client: Client) -> None:
    with client.stream(PROMPT, max_tokens=480, ignore_eos=True) as stream:
        next(stream)
        client.cancel(stream.session_id)
        try:
            rest = list(stream)
        except Cancelled:
            rest = []
        else:
            assert stream.generation.finish_reason == "cancelled"
    assert sum(len(part.token_ids) for part in rest) < 470
    client.cancel(stream.session_id)
    with pytest.raises(NotFound):
        client.cancel("no-such-session")


async def test_the_asyncio_client_does_the_same(stack: Up, client: Client) -> None:
    async with AsyncClient(stack.told["grpc"]) as other:
        made = await asyncio.gather(*(other.generate(PROMPT, seed=seed, max_tokens=12) for seed in range(4)))
    assert [made_.token_ids for made_ in made] == [
        client.generate(PROMPT, seed=seed, max_tokens=12).token_ids for seed in range(4)
    ]


BAD = {
    "unknown method": ({"method": "magic"}, "magic"),
    "max_tokens 0": ({"max_tokens": 0}, "max_tokens"),
    "max_tokens enormous": ({"max_tokens": 2**31 - 1}, "max_tokens"),
    "temperature -1": ({"temperature": -1.0}, "temperature"),
    "temperature nan": ({"temperature": math.nan}, "temperature"),
    "top_p 0": ({"top_p": 0.0}, "top_p"),
    "top_k -1": ({"top_k": -1}, "top_k"),
    "min_p 2": ({"min_p": 2.0}, "min_p"),
    "threshold 0": ({"threshold": 0.0}, "threshold"),
    "threshold 2": ({"threshold": 2.0}, "threshold"),
    "draft_length 1000": ({"draft_length": 1000}, "draft_length"),
    "draft_length 0": ({"draft_length": 0}, "draft_length"),
    "beam_width 17": ({"beam_width": 17}, "beam_width"),
    "presence_penalty 3": ({"presence_penalty": 3.0}, "presence_penalty"),
    "frequency_penalty nan": ({"frequency_penalty": math.nan}, "frequency_penalty"),
    "a bias of 1000": ({"logit_bias": {3: 1000.0}}, "logit_bias"),
    "a bias past the vocabulary": ({"logit_bias": {320: 1.0}}, "logit_bias"),
    "a bias of a negative token": ({"logit_bias": {-1: 1.0}}, "logit_bias"),
    "1025 biases": ({"logit_bias": dict.fromkeys(range(1025), 1.0)}, "logit_bias"),
    "no biases at all": ({"logit_bias": 5}, "logit_bias"),
    "empty stop": ({"stop": [""]}, "stop"),
    "17 stops": ({"stop": list("abcdefghijklmnopq")}, "stop"),
}


@pytest.mark.parametrize(("options", "named"), BAD.values(), ids=BAD.keys())
def test_bad_options_are_refused_by_name(client: Client, options: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        client.generate(PROMPT, timeout=20, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prompt",
    ["", [], [320], [2**32 - 1], [5] * 512, [5] * 100_000],
    ids=["empty", "no ids", "high", "huge", "long", "longer"],
)
def test_bad_prompts_are_refused(client: Client, prompt: str | list[int]) -> None:
    with pytest.raises(InvalidArgument):
        client.generate(prompt, timeout=20)


def test_bad_requests_disturb_no_neighbour(client: Client) -> None:
    undisturbed = client.generate(PROMPT, seed=8, max_tokens=48, ignore_eos=True)
    with ThreadPoolExecutor(1) as thread:
        neighbour = thread.submit(client.generate, PROMPT, seed=8, max_tokens=48, ignore_eos=True)
        for options, _ in BAD.values():
            with pytest.raises(InvalidArgument):
                client.generate(PROMPT, timeout=20, **options)  # type: ignore[arg-type]
        assert neighbour.result().token_ids == undisturbed.token_ids
