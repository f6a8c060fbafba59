"""The scheduling policy as properties: what a step may cost, whose turn it is, and that everybody's turn comes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.decoding.values import Decoding, Sampling, Speculation
from tandem.engine.engine import Engine
from tandem.engine.residents import Residents
from tandem.engine.scheduler import (
    CHUNK_SECONDS,
    IN_PASSING,
    MAX_BEGUN,
    MAX_SETBACKS,
    PATIENCE_SECONDS,
    Step,
    next_step,
)
from tandem.engine.text import CHUNK_TOKENS, TextSequence
from tests.engine.tiny_models import VOCAB_SIZE, Tiny
from tests.support.tabular import TabularModel, random_tables

TABLE = random_tables(seed=3)[0]
DECODING = Decoding(Sampling(), Speculation("autoregressive"), 1 << 20)
STEP_SECONDS = 0.05


@dataclass(eq=False)
class Asking:
    """Somebody who wants a round."""

    sequence: TextSequence
    waiting_since: float
    round_deadline: float = math.inf
    num_chunks: int = field(default=0, compare=False)


class World:
    """A model that runs what is chosen, step by step."""

    def __init__(self, engine: Engine | TabularModel | None = None) -> None:
        self.model = engine or TabularModel(TABLE)
        self.residents = Residents(self.model)
        self.waiting: list[Asking] = []
        self.now = 0.0

    def asks(self, num_tokens: int, deadline: float = math.inf, prompt: list[int] | None = None) -> Asking:
        text = self.residents.open(prompt or [1] * num_tokens, DECODING, Sampling())
        self.waiting.append(Asking(text, self.now, deadline))
        return self.waiting[-1]

    def step(self, max_rows: int = 64) -> Step[Asking]:
        step = next_step(self.waiting, self.now, max_rows)
        texts = [asking.sequence for asking in step.rounds]
        if texts:
            self.residents.prepare(texts)
            self.residents.candidates([text.feed_text_and_tree() for text in texts], 1, texts)
            for text in texts:
                text.extend([2])
        if step.reading is not None:
            asking, count = step.reading
            self.residents.read(asking.sequence, count)
            asking.num_chunks += 1
        self.waiting = [asking for asking in self.waiting if asking not in step.rounds]
        self.now += STEP_SECONDS
        return step


lengths = st.one_of(st.integers(1, IN_PASSING), st.integers(1, 3 * CHUNK_TOKENS))


@settings(deadline=None, max_examples=60)
@given(st.lists(lengths, max_size=20), st.integers(1, 8))
def test_a_step_reads_one_chunk_at_most_and_no_round_waits_for_a_text_to_be_read(
    asked: list[int], max_rows: int
) -> None:
    world = World()
    for length in asked:
        world.asks(length)
    while world.waiting:
        ready = [asking for asking in world.waiting if asking.sequence.num_pending <= IN_PASSING]
        pending = {id(asking): asking.sequence.num_pending for asking in world.waiting}
        step = world.step(max_rows)
        read = sum(tokens for asking in step.rounds if (tokens := pending[id(asking)]) > IN_PASSING)
        read += step.reading[1] if step.reading is not None else 0
        assert read == step.num_read <= CHUNK_TOKENS
        assert len(step.rounds) <= max_rows
        assert len(step.rounds) == max_rows or all(asking in step.rounds for asking in ready)
        assert step.rounds or step.reading is not None


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6 * CHUNK_TOKENS), st.integers(1, 3), st.floats(0.01, 3.0), st.lists(lengths, max_size=5))
def test_nobody_starves_under_endless_arrivals(length: int, rate: int, hurry: float, before: list[int]) -> None:
    """Whatever keeps on coming, with whatever deadlines, a text is behind those only that came soon after it."""
    world = World()
    for other in before:
        world.asks(other)
    asking = world.asks(length)
    num_chunks = -(-length // CHUNK_TOKENS)
    last_in_front = PATIENCE_SECONDS + num_chunks * CHUNK_SECONDS
    num_in_front = sum(-(-other // CHUNK_TOKENS) for other in before) + rate * (1 + last_in_front / STEP_SECONDS)
    for _ in range(int(num_in_front) + num_chunks + 2):
        for _ in range(rate):  # each takes a step of its own, and is in more of a hurry
            world.asks(CHUNK_TOKENS, world.now + hurry + 1000)
            world.waiting[-1].round_deadline = world.now + hurry
        world.step()
        if asking not in world.waiting:
            return
    raise AssertionError(f"a text of {num_chunks} chunks has had {asking.num_chunks} only")


def test_the_nearest_deadline_goes_first_within_patience() -> None:
    world = World()
    patient, hurried = world.asks(CHUNK_TOKENS), world.asks(CHUNK_TOKENS, deadline=0.5)
    assert world.step().rounds == [hurried]
    assert world.step().rounds == [patient]


def test_what_is_past_its_deadline_is_not_computed() -> None:
    world = World()
    late = [world.asks(length, deadline=0.0) for length in (1, 100, 2 * CHUNK_TOKENS)]
    fresh = world.asks(5)
    step = world.step()
    assert (step.rounds, step.reading) == ([fresh], None)
    assert world.model.num_fed == 5  # type: ignore[union-attr]
    assert world.waiting == late


def test_long_texts_take_turns_and_a_few_only_hold_kv_between_them() -> None:
    world = World()
    asked = [world.asks(4 * CHUNK_TOKENS) for _ in range(MAX_BEGUN + 2)]
    turns = []
    while world.waiting:
        step = world.step()
        turns.append(asked.index(step.reading[0] if step.reading is not None else step.rounds[0]))
        assert sum(asking.sequence.is_begun for asking in world.waiting) <= MAX_BEGUN
    assert turns[: 2 * MAX_BEGUN] == [*range(MAX_BEGUN)] * 2
    assert sorted(turns) == sorted(list(range(len(asked))) * 4)


def test_a_short_text_does_not_wait_for_a_long_one_to_end() -> None:
    world = World()
    long = world.asks(20 * CHUNK_TOKENS)
    world.step()
    short = world.asks(CHUNK_TOKENS)
    for _ in range(3):
        world.step()
    assert short not in world.waiting
    assert long in world.waiting


def test_a_text_whose_kv_is_taken_again_and_again_is_read_at_once() -> None:
    world = World()
    asking = world.asks(3 * CHUNK_TOKENS)
    for _ in range(MAX_SETBACKS):
        assert world.step().reading is not None
        asking.sequence.forget_kv()
    assert world.step().rounds == [asking]
    assert asking.sequence.num_setbacks == 0


def test_of_texts_that_begin_alike_one_goes_ahead_and_the_others_share(llama: Tiny) -> None:
    engine = llama.engine(200, 4)
    world = World(engine)
    stem = np.random.default_rng(1).integers(0, VOCAB_SIZE, 40).tolist()
    asked = [world.asks(0, prompt=[*stem, *range(index, index + 17)]) for index in range(5)]
    other = world.asks(0, prompt=[*stem[1:], *range(17)])
    assert world.step().rounds == [asked[0], other]
    assert engine.prefix_counts.hits == 0
    assert world.step().rounds == asked[1:]
    assert engine.prefix_counts.hits == 4 * 40
    assert len({tuple(asking.sequence.token_ids) for asking in asked}) == 5
