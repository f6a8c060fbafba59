"""The tiny pair, which has a chat template, served by a whole stack; orchestrators whose replicas follow a script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Up, running
from tests.orchestrator.conftest import stage, tokenizer, tokenizer_folder

__all__ = ["stack", "stage", "tokenizer", "tokenizer_folder"]


@pytest.fixture(scope="session")
def stack(tiny_pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A stack that tests leave as it was."""
    target, draft = tiny_pair
    with running(tmp_path_factory.mktemp("clients"), "--target", str(target), "--draft", str(draft)) as up:
        yield up
