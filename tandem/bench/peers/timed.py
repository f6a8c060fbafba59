"""One call of `generate` with the times at which tokens became known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from tandem.bench.contender import Answer, Arrival, Ask


class _Clock:
    """A streamer: `generate` hands it the prompt, then the tokens of every step, a row each."""

    def __init__(self) -> None:
        self.steps: list[Arrival] = []
        self._began = time.perf_counter()
        self._prompt_is_past = False

    def put(self, tokens: torch.Tensor) -> None:
        """Notes a step. A batch's step is one token a row; of one row alone it may be several tokens."""
        if self._prompt_is_past:
            self.steps.append(Arrival(time.perf_counter() - self._began, tokens.numel()))
        self._prompt_is_past = True

    def end(self) -> None:
        """Called last."""


def generate_one(model: Any, config: GenerationConfig, ask: Ask, **options: Any) -> Answer:
    """One text; ``options`` go to `generate`."""
    clock = _Clock()
    torch.manual_seed(ask.seed)
    prompt = torch.tensor([ask.prompt], device=model.device)
    written = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        generation_config=config,
        streamer=clock,
        **options,
    )
    return Answer(tuple(written[0, len(ask.prompt) :].tolist()), tuple(clock.steps))


def generate_batch(model: Any, config: GenerationConfig, asks: Sequence[Ask], **options: Any) -> list[Answer]:
    """A text for each request, prompts padded on the left to one length; of a row only what it asked for counts."""
    clock = _Clock()
    torch.manual_seed(asks[0].seed)
    width = max(len(ask.prompt) for ask in asks)
    prompts = torch.zeros((len(asks), width), dtype=torch.long, device=model.device)
    mask = torch.zeros_like(prompts)
    for row, ask in enumerate(asks):
        prompts[row, width - len(ask.prompt) :] = torch.tensor(ask.prompt)
        mask[row, width - len(ask.prompt) :] = 1
    written = model.generate(prompts, attention_mask=mask, generation_config=config, streamer=clock, **options)
    return [
        Answer(
            tuple(row[width : width + ask.num_tokens].tolist()),
            tuple(Arrival(step.seconds, 1) for step in clock.steps[: ask.num_tokens]),
        )
        for row, ask in zip(written, asks, strict=True)
    ]
