"""Time of one pass of the verify engine on one process, and on several ranks that share its model out.

    python -m benchmarks.ranks [--target FOLDER] [--parallelism 2] [--dtype float32] [--tokens 1 5 17] [--units 0]

`--units` widens the feed-forward of the target to so many (17408: the cost of 85M parameters of the shipped one; its
function stays). The two take turns, one thread a process. Logits are compared as well: their widest difference is told.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tandem.engine.engine import Engine
from tandem.engine.hosting import HostedModel, host_model
from tandem.engine.sequence import Sequence
from tandem.engine.tree_model import Row
from tandem.engine.widen import widen_feed_forward
from tandem.models import shipped
from tandem.rpc.server import leave
from verify_service.followers import Followers

CONTEXT_LENGTH = 200
NUM_PASSES = 40
NUM_KV_BLOCKS = 64


class Contestant:
    """A hosted model, with a text to pass over at its end."""

    def __init__(self, hosted: HostedModel) -> None:
        assert isinstance(hosted.model, Engine)
        self._engine = hosted.model
        self._ids = np.random.default_rng(0).integers(0, hosted.vocab_size, CONTEXT_LENGTH)
        self._sequence: Sequence = self._engine.open()
        self._engine.forward([self._row(CONTEXT_LENGTH)])
        self._sequence.settle(range(CONTEXT_LENGTH))

    def _row(self, num_tokens: int) -> Row:
        nodes = np.arange(num_tokens)
        return Row(self._sequence, self._ids[:num_tokens], nodes - 1, nodes)

    def timed(self, num_tokens: int) -> tuple[float, torch.Tensor]:
        """Seconds of one pass over so many tokens, and its logits; the text stays as it was."""
        began = time.perf_counter()
        logits = self._engine.forward([self._row(num_tokens)])
        seconds = time.perf_counter() - began
        self._sequence.settle([])
        return seconds, logits.float()


def compare(one: Contestant, ranks: Contestant, num_tokens: int, num_ranks: int) -> None:
    seconds: dict[str, list[float]] = {"one": [], "ranks": []}
    widest = 0.0
    for _ in range(NUM_PASSES):
        (first, expected), (second, logits) = one.timed(num_tokens), ranks.timed(num_tokens)
        seconds["one"].append(first)
        seconds["ranks"].append(second)
        widest = max(widest, (logits - expected).abs().max().item())
    alone, together = (1000 * statistics.median(times) for times in seconds.values())
    print(
        f"{num_tokens:3} tokens: one process {alone:7.1f} ms, {num_ranks} ranks {together:7.1f} ms, "
        f"ratio {together / alone:.2f}; logits differ by {widest:.2g} at most",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default=str(shipped("target")))
    parser.add_argument("--parallelism", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 5, 17])
    parser.add_argument("--units", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        target = args.target
        if args.units:
            target = str(Path(made) / "widened")
            widen_feed_forward(args.target, target, args.units)
        common = {"--target": target, "--dtype": args.dtype, "--threads": "1", "--kv-blocks": str(NUM_KV_BLOCKS)}
        flags = [part for flag in common.items() for part in flag]
        with Followers(args.parallelism, [*flags, "--parallelism", str(args.parallelism)]) as followers:
            settings = {"dtype": args.dtype, "num_threads": 1, "num_kv_blocks": NUM_KV_BLOCKS}
            ranks = Contestant(host_model(target, place=followers.place, **settings))
            one = Contestant(host_model(target, **settings))
            for num_tokens in args.tokens:
                compare(one, ranks, num_tokens, args.parallelism)
    leave(0)


if __name__ == "__main__":
    main()
