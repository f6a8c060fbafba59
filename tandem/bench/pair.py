"""The pair that everybody runs: which models, in which numbers, with how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tandem.engine.checkpoint import open_checkpoint
from tandem.engine.widen import widen_feed_forward
from tandem.errors import InvalidArgument
from tandem.models import shipped


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models on this machine."""

    target: str
    """Folder or Hugging Face id."""
    draft: str
    dtype: str
    """float32, bfloat16 or float16: named, so that nobody chooses another."""
    threads: int
    """Of each process that runs a model."""
    compile: bool
    """Whether Tandem runs both as machine code; its peers run them as the library does."""

    @property
    def target_digest(self) -> str:
        """As a running stack describes its target's weights."""
        return open_checkpoint(self.target).weights_digest


@contextmanager
def prepared(
    target: str | None, draft: str | None, dtype: str, threads: int, widen: int, compile: bool
) -> Iterator[Pair]:
    """The pair, the shipped models where none are named; with ``widen`` > 0 the target's feed-forward is padded to it.

    A widened target computes the same function at a larger cost (`tandem.engine.widen`); it is deleted at the end.

    Raises:
        ModelRefused: a model is not there, or cannot be widened.
    """
    target, draft = target or str(shipped("target")), draft or str(shipped("draft"))
    if widen < 0:
        raise InvalidArgument(
            f"widen is {widen}; expected the width to pad the target's feed-forward to, 0 for as it is"
        )
    if not widen:
        yield Pair(target, draft, dtype, threads, compile)
        return
    with TemporaryDirectory(prefix="tandem-widened-") as folder:
        widened = Path(folder, f"target-{widen}-wide")
        widen_feed_forward(open_checkpoint(target).folder, widened, widen)
        yield Pair(str(widened), draft, dtype, threads, compile)
