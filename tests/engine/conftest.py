"""The tiny models, built once a session, and their engines, audited when the test that made them is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from tandem.engine.engine import Engine
from tests.engine.tiny_models import MADE, TINY, Tiny, tiny

_BUILT: dict[str, Tiny] = {}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _every_engine_is_audited() -> Iterator[None]:
    MADE.clear()
    yield
    for engine in MADE:
        engine.check_integrity()


def built(name: str) -> Tiny:
    if name not in _BUILT:
        _BUILT[name] = tiny(name)
    return _BUILT[name]


@pytest.fixture(params=sorted(TINY))
def each_model(request: pytest.FixtureRequest) -> Tiny:
    return built(request.param)


@pytest.fixture
def llama() -> Tiny:
    return built("llama")


@pytest.fixture
def make_engine() -> Callable[..., Engine]:
    """`make_engine(tiny, num_kv_blocks=…, block_size=…)`."""
    return Tiny.engine
