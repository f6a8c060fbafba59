"""The library's assisted generation: the draft model proposes, the target keeps what speculative sampling allows."""

from __future__ import annotations

from collections.abc import Sequence

from tandem.bench.contender import Answer, Ask
from tandem.bench.peers.setup import Setup
from tandem.bench.peers.timed import generate_one


class Assisted:
    """Always as many drafted tokens as Tandem drafts. It takes one request at a time only."""

    name = "assisted"

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        drafting = setup.draft.generation_config
        drafting.num_assistant_tokens = setup.draft_length
        drafting.num_assistant_tokens_schedule = "constant"
        drafting.assistant_confidence_threshold = 0.0  # the library's own would end a draft early

    def serves(self, concurrency: int) -> bool:
        """One request."""
        return concurrency == 1

    async def answer(self, asks: Sequence[Ask], concurrency: int) -> list[Answer]:
        """See `Contender`."""
        setup = self._setup
        return [
            generate_one(setup.target, setup.config(ask.num_tokens), ask, assistant_model=setup.draft) for ask in asks
        ]

    async def close(self) -> None:
        """Nothing is held."""
