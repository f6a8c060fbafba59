"""A language model that is a table, so that every distribution over texts can be written down exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tandem.decoding.values import Floats
from tandem.decoding.warp import Candidates
from tandem.engine.tree_model import Row
from tandem.errors import InvariantBroken, OutOfKV


class TabularSequence:
    """The tokens a model would hold KV for."""

    def __init__(self) -> None:
        self.settled: list[int] = []
        self.unsettled: list[tuple[int, int]] = []  # token, parent

    @property
    def length(self) -> int:
        return len(self.settled)

    @property
    def num_unsettled(self) -> int:
        return len(self.unsettled)

    def settle(self, path: Sequence[int]) -> None:
        expected = -1
        for node in path:
            token, parent = self.unsettled[node]
            if parent != expected:
                raise InvariantBroken(f"node {node} has parent {parent}, not {expected}")
            self.settled.append(token)
            expected = node
        self.unsettled = []

    def rollback(self, length: int) -> None:
        assert 0 <= length <= self.length
        self.settled = self.settled[:length]
        self.unsettled = []

    def before(self, node: int) -> list[int]:
        """The text that ends with an unsettled node."""
        tail: list[int] = []
        while node >= 0:
            token, node = self.unsettled[node]
            tail.append(token)
        return self.settled + tail[::-1]


class TabularModel:
    """logits[last but one, last] -> [vocab]; reads only what was fed, so a wrong cache gives a wrong text."""

    def __init__(self, logits: Floats, capacity: int | None = None) -> None:
        self.logits = logits  # [vocab, vocab, vocab]
        self.vocab_size = int(logits.shape[-1])
        self.capacity = capacity
        self.open_sequences: list[TabularSequence] = []
        self.num_passes = 0

    def open(self) -> TabularSequence:
        sequence = TabularSequence()
        self.open_sequences.append(sequence)
        return sequence

    def close(self, sequence: TabularSequence) -> None:
        if sequence in self.open_sequences:
            self.open_sequences.remove(sequence)

    def next_logits(self, text: Sequence[int]) -> Floats:
        last_two = (0, *text)[-2:]
        row: Floats = self.logits[last_two[0], last_two[1]]
        return row

    def candidates(self, rows: Sequence[Row], width: int) -> Candidates:
        wanted = sum(len(row.token_ids) for row in rows)
        held = sum(sequence.length + sequence.num_unsettled for sequence in self.open_sequences)
        if self.capacity is not None and held + wanted > self.capacity:
            raise OutOfKV(f"{held} of {self.capacity} slots are held, {wanted} are wanted")
        self.num_passes += 1
        outputs: list[Floats] = []
        for row in rows:
            sequence = row.sequence
            assert isinstance(sequence, TabularSequence)
            base = sequence.num_unsettled
            for token, parent in zip(row.token_ids.tolist(), row.parents.tolist(), strict=True):
                assert -1 <= parent < sequence.num_unsettled
                sequence.unsettled.append((token, parent))
            outputs += [self.next_logits(sequence.before(base + at)) for at in row.logits_at.tolist()]
        table = np.array(outputs).reshape(len(outputs), self.vocab_size)
        order = np.argsort(-table, axis=1, kind="stable")[:, :width]
        with np.errstate(invalid="ignore"):
            log_normaliser = np.logaddexp.reduce(table, axis=1) if len(outputs) else np.empty(0)
        return Candidates(order, np.take_along_axis(table, order, axis=1), log_normaliser)

    def check_integrity(self) -> None:
        for sequence in self.open_sequences:
            for index, (_, parent) in enumerate(sequence.unsettled):
                if parent >= index:
                    raise InvariantBroken("a node stands before its parent")


def random_tables(seed: int, vocab_size: int = 8, closeness: float = 0.7, spread: float = 1.5) -> tuple[Floats, Floats]:
    """A target and a draft table [vocab, vocab, vocab] that agree in part."""
    generator = np.random.default_rng(seed)
    shape = (vocab_size,) * 3
    target = generator.normal(0, spread, shape)
    draft = closeness * target + (1 - closeness) * generator.normal(0, spread, shape)
    return target, draft
