"""One stack for all tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem import Client
from tests.e2e.running import Up, running


@pytest.fixture(scope="session")
def stack(tiny_pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The tiny pair, served."""
    target, draft = tiny_pair
    with running(tmp_path_factory.mktemp("stack"), "--target", str(target), "--draft", str(draft)) as up:
        yield up


@pytest.fixture
def client(stack: Up) -> Iterator[Client]:
    with Client(stack.told["grpc"]) as client:
        yield client
