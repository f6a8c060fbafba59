"""Random mixtures of everything an engine can do, checked against the plain model and audited after every step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tandem.engine.engine import Engine
from tandem.errors import OutOfKV
from tests.engine.mirror import Mirror, feed
from tests.engine.tiny_models import MAX_POSITIONS, Tiny

NUM_STEPS = 30


@pytest.mark.parametrize("seed", [1, 2])
def test_random_walk(each_model: Tiny, make_engine: Callable[..., Engine], seed: int) -> None:
    rng = np.random.default_rng(seed)
    engine = make_engine(each_model, num_kv_blocks=40, block_size=3)
    mirrors: list[Mirror] = []
    for _ in range(NUM_STEPS):
        if len(mirrors) < 2 or (len(mirrors) < 5 and rng.random() < 0.2):
            mirrors.append(Mirror(engine))
        action = rng.choice(["feed", "feed", "settle", "rollback", "close"], p=[0.35, 0.3, 0.22, 0.08, 0.05])
        mirror = mirrors[rng.integers(len(mirrors))]
        if action == "feed":
            _feed_some(each_model, engine, mirrors, rng)
        elif action == "settle" and mirror.tokens:
            path = mirror.path_to(int(rng.integers(-1, len(mirror.tokens))))
            mirror.settle(path[: rng.integers(0, len(path) + 1)])
        elif action == "rollback":
            mirror.rollback(int(rng.integers(0, len(mirror.settled) + 1)))
        elif action == "close":
            engine.close(mirror.sequence)
            mirrors.remove(mirror)
        engine.check_integrity()
    for mirror in mirrors:
        engine.close(mirror.sequence)
    engine.check_integrity()
    assert engine.kv_usage == 0.0


def _feed_some(model: Tiny, engine: Engine, mirrors: list[Mirror], rng: np.random.Generator) -> None:
    chosen = rng.permutation(len(mirrors))[: rng.integers(1, len(mirrors) + 1)]
    before = [(list(mirror.tokens), list(mirror.parents)) for mirror in mirrors]
    fed = []
    for index in chosen:
        mirror = mirrors[index]
        as_chain = bool(rng.random() < 0.4)
        num_tokens = int(rng.integers(1, 12 if as_chain else 7))
        if len(mirror.settled) + len(mirror.tokens) + num_tokens <= MAX_POSITIONS:
            fed.append((mirror, mirror.random_row(rng, num_tokens, as_chain=as_chain)))
    try:
        feed(model, engine, fed)
    except OutOfKV:  # nothing was fed, and everything goes on from where it was
        for mirror, (tokens, parents) in zip(mirrors, before, strict=True):
            mirror.tokens, mirror.parents = tokens, parents
            assert mirror.sequence.num_unsettled == len(tokens)
        largest = max(mirrors, key=lambda mirror: len(mirror.settled))
        largest.rollback(0)
