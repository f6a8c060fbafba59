"""The tiny models, built once a session, and their engines, audited when the test that made them is over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
import torch

from tandem.engine.engine import Engine
from tests.engine.tiny_models import MADE, TINY, Tiny, attending_by_operator, compiled, tiny

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


WAYS: dict[str, Callable[[Tiny], Tiny]] = {"operator": attending_by_operator, "compiled": compiled}
"""How else a model is run than row by row in the library's own code."""

COMPILED = "qwen2-windows-in-some-layers"
"""Of the tiny models, the one that the suite compiles: half a minute where it was not compiled before."""


def need_a_compiler() -> None:
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("there is no C++ compiler")


def built(name: str) -> Tiny:
    """`name` may end in a colon and one of the other ways."""
    if name not in _BUILT:
        model, _, way = name.partition(":")
        if way:
            need_a_compiler()
        _BUILT[name] = WAYS[way](built(model)) if way else tiny(name)
    return _BUILT[name]


@pytest.fixture(params=[*sorted(TINY), *(f"{name}:operator" for name in sorted(TINY)), f"{COMPILED}:compiled"])
def each_model(request: pytest.FixtureRequest) -> Tiny:
    return built(request.param)


@pytest.fixture
def llama() -> Tiny:
    return built("llama")


@pytest.fixture
def make_engine() -> Callable[..., Engine]:
    """`make_engine(tiny, num_kv_blocks=…, block_size=…)`."""
    return Tiny.engine
