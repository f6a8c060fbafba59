"""The library's `generate` on many prompts at once, padded on the left: all begin together, the longest ends last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from tandem.bench.contender import Answer, Ask
from tandem.bench.peers.setup import Setup
from tandem.bench.peers.timed import generate_batch


class _OwnLengths(StoppingCriteria):
    """Ends each row at its own length: the batch goes on until the last has ended."""

    def __init__(self, asks: Sequence[Ask]) -> None:
        width = max(len(ask.prompt) for ask in asks)
        self._ends = torch.tensor([width + ask.num_tokens for ask in asks])

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        """Of each row whether it has ended, [batch]."""
        return (self._ends <= input_ids.shape[1]).to(input_ids.device)


class StaticBatch:
    """As many requests as are asked for at once in one batch, then the next ones."""

    name = "static-batch"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def serves(self, concurrency: int) -> bool:
        """Two or more; a batch of one is `generate`."""
        return concurrency > 1

    async def answer(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        """See `Contender`."""
        answers: list[Answer] = []
        for start in range(0, len(asks), concurrency):
            batch = asks[start : start + concurrency]
            config = self._setup.config(max(ask.num_tokens for ask in batch))
            lengths = StoppingCriteriaList([_OwnLengths(batch)])
            answers += generate_batch(self._setup.target, config, batch, stopping_criteria=lengths)
        return answers

    async def close(self) -> None:
        """Nothing is held."""
