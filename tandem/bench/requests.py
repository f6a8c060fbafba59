"""Requests nobody has answered before: held-out questions, of each repetition, concurrency and contender its own."""

from __future__ import annotations

import random

from tandem.bench.contender import Ask
from tandem.bench.plan import Plan
from tandem.evaluation.text_to_sql import held_out
from tandem.tokenization import Tokenizer

WARM_UP = -1
"""As a repetition: the one that is not measured."""
WARM_UP_TOKENS = 8


class Requests:
    """Of a plan. The same plan gives the same requests, so a run that was stopped goes on as it began."""

    def __init__(self, plan: Plan, tokenizer: Tokenizer, num_sets: int) -> None:
        """``num_sets``: how many different sets there are of each repetition and concurrency."""
        self._plan = plan
        self._tokenizer = tokenizer
        self._num_sets = num_sets

    def of(self, repetition: int, concurrency: int, number: int) -> list[Ask]:
        """One set, by its number from 0."""
        plan = self._plan
        warms_up = repetition == WARM_UP
        count = concurrency if warms_up else plan.num_requests(concurrency)
        level = plan.levels.index(concurrency)
        place = ((repetition + 1) * len(plan.levels) + level) * self._num_sets + number
        rng = random.Random(f"bench/{plan.seed}/{place}")
        asks = []
        for example in held_out(count, seed=rng.randrange(1 << 32)):
            answer = len(self._tokenizer.encode(" " + example.gold_sql)) + 1  # the end token counts
            least, most = plan.lengths or (answer, answer)
            length = WARM_UP_TOKENS if warms_up else rng.randint(least, most)
            asks.append(Ask(tuple(self._tokenizer.encode(example.prompt)), length, rng.randrange(1 << 31)))
        return asks
