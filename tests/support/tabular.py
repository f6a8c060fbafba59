"""A language model that is a table, so that every distribution over texts can be written down exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tandem.decoding.most_probable import MostProbable
from tandem.decoding.scored import Scored
from tandem.decoding.values import Floats, Ids
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

    def adopt(self, text: Sequence[int], stop: int) -> int:
        return 0

    def next_key(self, text: Sequence[int]) -> bytes | None:
        return None

    def distrust(self) -> None:
        self.rollback(0)

    def read(self, tokens: list[int], parents: list[int], asked: list[int]) -> list[tuple[int, int]]:
        """Takes in a row, and gives the last two tokens at each place asked for; 0 stands before the first."""
        base = len(self.unsettled)
        assert all(-1 <= parent < base + index for index, parent in enumerate(parents))
        self.unsettled += zip(tokens, parents, strict=True)
        before = self.settled[-1] if self.settled else 0
        places = [(parents[at], tokens[at]) for at in asked]
        return [(self.unsettled[parent][0] if parent >= 0 else before, token) for parent, token in places]


class TabularModel:
    """logits[last but one, last] -> [vocab]; reads only what was fed, so a wrong cache gives a wrong text."""

    def __init__(self, logits: Floats, capacity: int | None = None) -> None:
        self.vocab_size = int(logits.shape[-1])
        self.capacity = capacity
        self.open_sequences: dict[int, TabularSequence] = {}
        self.num_passes = 0
        self.num_fed = 0
        """Tokens that were fed, in all passes together."""
        self._logits = logits
        self._ids = np.argsort(-logits, axis=2, kind="stable")
        self._sorted = np.take_along_axis(logits, self._ids, axis=2)
        with np.errstate(invalid="ignore"):
            self._log_normaliser = np.logaddexp.reduce(self._sorted, axis=2)

    def open(self, cache_salt: bytes | None = None) -> TabularSequence:
        sequence = TabularSequence()
        self.open_sequences[id(sequence)] = sequence
        return sequence

    def close(self, sequence: TabularSequence) -> None:
        self.open_sequences.pop(id(sequence), None)
        sequence.rollback(0)

    @property
    def num_held(self) -> int:
        """Slots in use."""
        return sum(sequence.length + sequence.num_unsettled for sequence in self.open_sequences.values())

    def candidates(self, rows: Sequence[Row], width: int, num_top: int = 0) -> Candidates:
        last_but_one, last = self._read(rows)
        found = self._candidates(rows, width, last_but_one, last)
        if not num_top:
            return found
        with np.errstate(invalid="ignore"):
            log_probs = self._sorted[last_but_one, last] - found.log_normaliser[:, None]
        return replace(found, top=MostProbable(self._ids[last_but_one, last, :num_top], log_probs[:, :num_top]))

    def score(self, rows: Sequence[Row], next_ids: Ids, num_top: int) -> Scored:
        last_but_one, last = self._read(rows)
        normaliser, chosen = self._log_normaliser[last_but_one, last], self._logits[last_but_one, last, next_ids]
        order = self._ids[last_but_one, last]
        top = None
        with np.errstate(invalid="ignore"):
            if num_top:
                top = MostProbable(
                    order[:, :num_top], (self._sorted[last_but_one, last] - normaliser[:, None])[:, :num_top]
                )
            log_probs = chosen - normaliser
        return Scored(log_probs, 1 + np.argmax(order == next_ids[:, None], axis=1), np.isfinite(normaliser), top)

    def _read(self, rows: Sequence[Row]) -> tuple[Ids, Ids]:
        """Takes in the rows, and gives the last two tokens at each place that they ask for."""
        wanted = sum(len(row.token_ids) for row in rows)
        if self.capacity is not None and self.num_held + wanted > self.capacity:
            raise OutOfKV(f"{self.num_held} of {self.capacity} slots are held, {wanted} are wanted")
        self.num_passes += 1
        self.num_fed += wanted
        contexts: list[tuple[int, int]] = []
        for row in rows:
            sequence = row.sequence
            assert isinstance(sequence, TabularSequence)
            contexts += sequence.read(row.token_ids.tolist(), row.parents.tolist(), row.logits_at.tolist())
        last_but_one, last = np.array(contexts, np.int64).reshape(-1, 2).T
        return last_but_one, last

    def _candidates(self, rows: Sequence[Row], width: int, last_but_one: Ids, last: Ids) -> Candidates:
        if any(row.adjustment is not None or row.allowed is not None for row in rows):
            return self._adjusted(rows, width, last_but_one, last)
        return Candidates(
            self._ids[last_but_one, last, :width],
            self._sorted[last_but_one, last, :width],
            self._log_normaliser[last_but_one, last],
        )

    def _adjusted(self, rows: Sequence[Row], width: int, last_but_one: Ids, last: Ids) -> Candidates:
        """As without adjustments and constraints, of a table in which each row has its own."""
        given = self._logits[last_but_one, last]
        logits = given.copy()
        start = 0
        for row in rows:
            stop = start + len(row.logits_at)
            if row.adjustment is not None:
                logits[start:stop, row.adjustment.token_ids] += row.adjustment.deltas
            if row.allowed is not None:
                bits = np.unpackbits(row.allowed, axis=1, bitorder="little")[:, : self.vocab_size]
                logits[start:stop][bits == 0] = -np.inf
            start = stop
        ids = np.argsort(-logits, axis=1, kind="stable")[:, :width]
        ranked, unadjusted = (np.take_along_axis(each, ids, axis=1) for each in (logits, given))
        return Candidates(ids, ranked, self._log_normaliser[last_but_one, last], unadjusted)

    def check_integrity(self) -> None:
        for sequence in self.open_sequences.values():
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
