"""The library's continuous batching: what is behind its `generate_batch`, kept running between calls.

`generate_batch` sets the manager up anew at every call, which takes longer than a benchmark's texts; and it has one
length for all. So the manager is used itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from transformers import ContinuousBatchingConfig

from tandem.bench.contender import Answer, Arrival, Ask
from tandem.bench.peers.setup import Setup
from tandem.errors import Unavailable

_PAGE_SIZE = 256  # the library's own; tokens of one layer's page
_TOKENS_A_STEP = 512
_PATIENCE_SECONDS = 120.0


class ContinuousBatching:
    """A request begins as soon as another has ended."""

    name = "continuous-batching"

    def __init__(self, setup: Setup) -> None:
        # A model of its own: the manager changes how it attends. Room for every request at its greatest length, where
        # the library would take nine tenths of the memory.
        self._model = setup.load(setup.pair.target)
        blocks = setup.max_concurrency * -(-setup.max_tokens // _PAGE_SIZE)
        self._manager: Any = self._model.init_continuous_batching(
            generation_config=setup.config(setup.max_tokens),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=_PAGE_SIZE, num_blocks=blocks + 2, max_batch_tokens=_TOKENS_A_STEP
            ),
        )
        with torch.no_grad():
            self._manager.start()

    def serves(self, concurrency: int) -> bool:
        """Any number."""
        return True

    async def answer(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        """See `Contender`."""
        waiting = iter(asks)
        under_way = {self._begin(ask): ask for ask in islice(waiting, concurrency)}
        answers: dict[Ask, Answer] = {}
        while under_way:
            result = self._manager.get_result(timeout=_PATIENCE_SECONDS)
            if result is None or result.error is not None:
                reason = f"answered nothing for {_PATIENCE_SECONDS:g} s" if result is None else result.error
                raise Unavailable(f"the peer {self.name} failed: {reason}")
            if not result.is_finished():
                continue
            ask = under_way.pop(result.request_id)
            arrivals = [Arrival(at - result.created_time, 1) for at in result.timestamps]
            answers[ask] = Answer(tuple(result.generated_tokens), tuple(arrivals))
            for following in islice(waiting, 1):
                under_way[self._begin(following)] = following
        return [answers[ask] for ask in asks]

    async def close(self) -> None:
        """Ends the manager's thread."""
        self._manager.stop(block=True, timeout=5.0)
        self._manager.destroy()

    def _begin(self, ask: Ask) -> str:
        request: str | None = self._manager.add_request(
            list(ask.prompt), max_new_tokens=ask.num_tokens, record_timestamps=True
        )
        if request is None:
            raise Unavailable(f"the peer {self.name} takes no request")
        return request
