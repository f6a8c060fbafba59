"""What a peer is given: the pair as the library loads it, and how to decode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transformers import AutoModelForCausalLM, GenerationConfig

from tandem.bench.pair import Pair
from tandem.engine.checkpoint import open_checkpoint
from tandem.engine.loading import DTYPES

NO_TOKEN = -1
"""As the end token: none is it, so that a text ends by its length alone."""


@dataclass(frozen=True)
class Setup:
    """One for all peers of a run; models are loaded when the first peer needs them."""

    pair: Pair
    draft_length: int
    """Tokens that assisted generation drafts a round: γ, as for Tandem."""
    temperature: float
    """0 is greedy."""
    top_k: int
    top_p: float
    max_concurrency: int
    """The most requests that will be under way at once."""
    max_tokens: int
    """The most tokens of a text, its prompt included."""

    @cached_property
    def target(self) -> Any:
        """The target, unmodified."""
        return self.load(self.pair.target)

    @cached_property
    def draft(self) -> Any:
        """The draft model, unmodified."""
        return self.load(self.pair.draft)

    def load(self, name: str) -> Any:
        """A model as the library loads it, ready to generate.

        Raises:
            ModelRefused: it is not there, or not safe to open.
        """
        model = AutoModelForCausalLM.from_pretrained(
            open_checkpoint(name).folder,
            dtype=DTYPES[self.pair.dtype],
            use_safetensors=True,
            trust_remote_code=False,
        )
        # What a checkpoint says of generation (its own lengths, end tokens, penalties) is not what is compared here.
        model.generation_config = _config()
        model.requires_grad_(False)
        return model.eval()  # type: ignore[no-untyped-call]

    def config(self, num_tokens: int) -> GenerationConfig:
        """Exactly so many tokens a text, sampled as the run samples."""
        sampled = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        samples = self.temperature > 0
        return _config(max_new_tokens=num_tokens, do_sample=samples, **(sampled if samples else {}))


def _config(**options: Any) -> GenerationConfig:
    return GenerationConfig(eos_token_id=NO_TOKEN, pad_token_id=0, **options)  # type: ignore[no-untyped-call]
