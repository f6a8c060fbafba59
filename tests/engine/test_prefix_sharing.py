"""Sequences that begin alike share KV: the same logits and texts as without, apart by salt, never of doubtful KV."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tandem.decoding.values import Decoding, Outcome, Proposal, Sampling, Speculation
from tandem.engine.engine import Engine
from tandem.engine.proposer import Proposer
from tandem.engine.verifier import Verifier
from tandem.errors import OutOfKV, RowFailed
from tests.engine.conftest import built
from tests.engine.mirror import Mirror, chain, feed, ints
from tests.engine.tiny_models import MAX_POSITIONS, VOCAB_SIZE, Tiny, tiny

MakeEngine = Callable[..., Engine]
SALT = b"one tenant"


def tokens(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCAB_SIZE, count)


def computed(model: Tiny, engine: Engine, text: np.ndarray, salt: bytes | None = SALT) -> Mirror:
    mirror = Mirror(engine, salt)
    feed(model, engine, [(mirror, mirror.row(text, chain(0, len(text))))])
    mirror.settle(list(range(len(text))))
    return mirror


def test_full_blocks_are_shared_and_what_follows_is_as_if_they_were_not(
    each_model: Tiny, make_engine: MakeEngine
) -> None:
    engine = make_engine(each_model, block_size=4)
    text = tokens(14)
    first = computed(each_model, engine, text)
    used = engine.kv_usage
    second = Mirror(engine, SALT)
    assert second.adopt([*text[:13].tolist()]) == 12
    assert engine.kv_usage == used
    rest = second.row(np.concatenate((text[12:], ints(5, 6))), ints(-1, 0, 1, 1))
    feed(each_model, engine, [(second, rest), (first, first.row(ints(8, 9), ints(-1, -1)))])
    second.settle([0, 1, 3])
    first.settle([1])
    feed(each_model, engine, [(second, second.row(ints(3), ints(-1))), (first, first.row(ints(3), ints(-1)))])
    engine.close(first.sequence)
    feed(each_model, engine, [(second, second.row(ints(4), ints(0)))])


@pytest.mark.parametrize(("name", "seed"), [("llama", 1), ("mistral-narrow-window", 2), ("gpt2", 3)])
def test_random_walk_of_texts_that_begin_alike(make_engine: MakeEngine, name: str, seed: int) -> None:
    model, rng = built(name), np.random.default_rng(seed)
    engine = make_engine(model, num_kv_blocks=30, block_size=3)
    stems = [tokens(20, stem).tolist() for stem in range(2)]
    mirrors: list[Mirror] = []
    for _ in range(40):
        if len(mirrors) < 2 or (len(mirrors) < 6 and rng.random() < 0.3):
            mirrors.append(Mirror(engine, SALT))
        mirror = mirrors[rng.integers(len(mirrors))]
        action = rng.choice(["text", "text", "tree", "settle", "rollback", "close"])
        if action == "text" and not mirror.tokens:
            stem = stems[rng.integers(2)]
            rest = stem[len(mirror.settled) :] if stem[: len(mirror.settled)] == mirror.settled else []
            mirror.adopt(rest[:-1])
            rest = rest[len(mirror.settled) - len(stem) :] if rest else []
            rest += tokens(int(rng.integers(1, 4)), int(rng.integers(1000))).tolist()
            _feed(model, engine, mirrors, mirror, np.array(rest), chain(0, len(rest)))
        elif action == "tree":
            row = [int(rng.integers(-1, len(mirror.tokens) + index)) for index in range(3)]
            _feed(model, engine, mirrors, mirror, tokens(3, int(rng.integers(1000))), np.array(row))
        elif action == "settle" and mirror.tokens:
            mirror.settle(mirror.path_to(int(rng.integers(-1, len(mirror.tokens)))))
        elif action == "rollback":
            mirror.rollback(int(rng.integers(0, len(mirror.settled) + 1)))
        elif action == "close":
            engine.close(mirror.sequence)
            mirrors.remove(mirror)
        engine.check_integrity()
    assert engine.prefix_counts.hits > 0
    for mirror in mirrors:
        engine.close(mirror.sequence)
    assert engine.kv_usage == 0.0


def _feed(
    model: Tiny, engine: Engine, mirrors: list[Mirror], mirror: Mirror, token_ids: np.ndarray, parents: np.ndarray
) -> None:
    if len(mirror.settled) + len(mirror.tokens) + len(token_ids) > MAX_POSITIONS:
        return
    before = list(mirror.tokens), list(mirror.parents)
    try:
        feed(model, engine, [(mirror, mirror.row(token_ids, parents))])
    except OutOfKV:
        mirror.tokens, mirror.parents = before
        max(mirrors, key=lambda each: len(each.settled)).rollback(0)


def test_what_is_closed_is_found_until_its_room_is_needed(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama, num_kv_blocks=20, block_size=4)
    text = tokens(16)
    engine.close(computed(llama, engine, text).sequence)
    assert engine.kv_usage == 0.0
    again = Mirror(engine, SALT)
    assert again.adopt(text.tolist()) == 16
    engine.close(again.sequence)
    engine.close(computed(llama, engine, tokens(76, 1), None).sequence)
    assert Mirror(engine, SALT).adopt(text.tolist()) == 0
    assert (engine.prefix_counts.queries, engine.prefix_counts.hits) == (32, 16)


@pytest.mark.parametrize("salt", [b"another", b"", None])
def test_texts_of_other_salts_are_not_found(llama: Tiny, make_engine: MakeEngine, salt: bytes | None) -> None:
    engine = make_engine(llama)
    text = tokens(16)
    computed(llama, engine, text)
    assert Mirror(engine, salt).adopt(text.tolist()) == 0
    assert Mirror(engine, SALT).adopt(text.tolist()) == 16


def test_a_block_counts_as_a_whole_text_up_to_there(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama, block_size=4)
    text = tokens(12)
    computed(llama, engine, text)
    other = text.copy()
    other[1] += 1
    assert Mirror(engine, SALT).adopt(other.tolist()) == 0
    other = text.copy()
    other[5] = (other[5] + 1) % VOCAB_SIZE
    assert Mirror(engine, SALT).adopt(other.tolist()) == 4


def test_a_text_under_way_goes_on_in_what_another_has_computed_meanwhile(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama, block_size=4)
    text = tokens(23)
    slow = computed(llama, engine, text[:6])
    computed(llama, engine, text)
    assert slow.adopt(text[6:-1].tolist()) == 14
    assert slow.settled == text[:20].tolist()
    feed(llama, engine, [(slow, slow.row(text[20:], chain(0, 3)))])


def test_rolling_back_into_a_full_block_gives_it_up(llama: Tiny, make_engine: MakeEngine) -> None:
    engine = make_engine(llama, block_size=4)
    text = tokens(11)
    first, second = computed(llama, engine, text), Mirror(engine, SALT)
    second.adopt(text.tolist())
    for length, kept in ((8, 8), (7, 4), (0, 0)):
        second.rollback(length)
        assert second.sequence.length == kept
        feed(llama, engine, [(second, second.row(tokens(3, length), chain(0, 3)))])
        second.settle([0])
    first.rollback(10)
    assert first.sequence.length == 10
    feed(llama, engine, [(first, first.row(ints(1), ints(-1)))])


PROMPT = tokens(37, 5).tolist()
METHODS = ["autoregressive", "speculative", "specinfer", "mtad", "mmtad", "mtjd"]


def decoded(model: Tiny, method: str, num_blocks: int, salts: list[bytes]) -> tuple[list[list[int]], Verifier]:
    """Texts from prompts that begin alike, one opened after another, in rounds together; float64, free of near-ties."""
    verifier, proposer = Verifier(model.engine(num_blocks, 4)), Proposer(built_double("llama").engine(num_blocks, 4))
    speculation = Speculation(method, 3, 3)
    texts, drafts = [], []
    for index, salt in enumerate(salts):
        prompt = [*PROMPT[: 37 - 3 * index], index]
        decoding = Decoding(Sampling(seed=index), speculation, 1 << 20, cache_salt=salt)
        texts.append(verifier.open(prompt, decoding))
        drafts.append(None if method in ("autoregressive", "mtjd") else proposer.open(prompt, decoding))
        for _ in range(3):
            live = [draft for draft in drafts if draft is not None]
            proposals: list[Proposal | Exception | None] = [None] * len(texts)
            if live:
                proposals = list(proposer.propose(live))
            for proposal in proposals:
                assert not isinstance(proposal, Exception), proposal
            outcomes = verifier.judge(list(zip(texts, proposals, strict=True)))  # type: ignore[arg-type]
            for draft, outcome in zip(drafts, outcomes, strict=True):
                assert isinstance(outcome, Outcome), outcome
                if draft is not None:
                    draft.extend(outcome.token_ids)
            verifier.check_integrity()
            proposer.check_integrity()
    return [text.token_ids for text in texts], verifier


_DOUBLE: dict[str, Tiny] = {}


def built_double(name: str) -> Tiny:
    if name not in _DOUBLE:
        _DOUBLE[name] = tiny(name, dtype=torch.float64)
    return _DOUBLE[name]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gemma", "qwen2-windows-in-some-layers", "gpt_neox"])
def test_texts_are_the_same_with_and_without_sharing(method: str, name: str) -> None:
    model = built_double(name)
    alone, verifier = decoded(model, method, 200, [bytes([index]) for index in range(4)])
    assert verifier.model.prefix_counts.hits == 0  # type: ignore[attr-defined]
    shared, verifier = decoded(model, method, 200, [b""] * 4)
    assert verifier.model.prefix_counts.hits >= 3 * 24  # type: ignore[attr-defined]
    crowded, _ = decoded(model, method, 24, [b""] * 4)
    assert shared == alone
    assert crowded == alone


def test_kv_of_a_text_that_failed_is_not_shared(llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = llama.engine(64, 4)
    verifier = Verifier(engine)
    prompt = tokens(30, 9).tolist()
    decoding = Decoding(Sampling(), Speculation("autoregressive"), 1 << 20)
    failing = verifier.open(prompt, decoding)
    with monkeypatch.context() as patch:  # a kernel that goes wrong once
        forward = llama.loaded.model.forward
        patch.setattr(llama.loaded.model, "forward", lambda **given: _spoilt(forward(**given)))
        verifier.read(failing, 21)  # found by others until it is clear that something is wrong
        (result,) = verifier.judge([(failing, None)])
    assert isinstance(result, RowFailed)
    healthy = verifier.open(prompt, decoding)
    (outcome,) = verifier.judge([(healthy, None)])
    assert isinstance(outcome, Outcome)
    assert engine.prefix_counts.hits == 0


def _spoilt(output: object) -> object:
    output.logits.fill_(torch.nan)  # type: ignore[attr-defined]
    return output


def test_scored_texts_neither_share_nor_are_shared(llama: Tiny) -> None:
    engine = llama.engine(64, 4)
    verifier, scorer = Verifier(engine), Verifier(engine).scorer()
    prompt = tokens(30, 9).tolist()
    decoding = Decoding(Sampling(), Speculation("autoregressive"), 1 << 20)
    for _ in range(2):
        scored = scorer.open(prompt, 0)
        assert scorer.advance([(scored, 29)]) == [None]
        scorer.close(scored)
        verifier.judge([(verifier.open(prompt, decoding), None)])
    assert engine.prefix_counts.hits == 28  # of the second text that was decoded
