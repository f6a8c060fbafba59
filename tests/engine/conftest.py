"""The tiny models, built once a session, and engines that are audited when their test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from tandem.engine.engine import Engine
from tests.engine.tiny_models import TINY, Tiny, tiny

_BUILT: dict[str, Tiny] = {}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
def make_engine() -> Iterator[Callable[..., Engine]]:
    """`make_engine(tiny, num_kv_blocks=…, block_size=…)`."""
    engines: list[Engine] = []

    def make(model: Tiny, num_kv_blocks: int = 64, block_size: int = 4) -> Engine:
        engines.append(model.engine(num_kv_blocks, block_size))
        return engines[-1]

    yield make
    for engine in engines:
        engine.check_integrity()
