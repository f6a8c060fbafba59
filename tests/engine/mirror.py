"""A sequence fed to an engine, mirrored in plain lists, so that every logit can be checked against the plain model."""

from __future__ import annotations

import numpy as np
import torch

from tandem.engine.engine import Engine
from tandem.engine.tree_model import Row
from tests.engine.tiny_models import VOCAB_SIZE, Tiny

TOLERANCE = 1e-4


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def chain(sequence_nodes: int, length: int) -> np.ndarray:
    """Parents of a chain that follows the last of `sequence_nodes` unsettled nodes."""
    return np.arange(sequence_nodes - 1, sequence_nodes + length - 1)


class Mirror:
    def __init__(self, engine: Engine, cache_salt: bytes | None = None) -> None:
        self.engine = engine
        self.shares = cache_salt is not None
        self.sequence = engine.open(cache_salt)
        self.settled: list[int] = []
        self.tokens: list[int] = []  # of the unsettled nodes
        self.parents: list[int] = []

    def row(self, token_ids: np.ndarray, parents: np.ndarray, logits_at: np.ndarray | None = None) -> Row:
        """A row, entered in the mirror as if it had been fed."""
        self.tokens += [int(token) for token in token_ids]
        self.parents += [int(parent) for parent in parents]
        return Row(self.sequence, token_ids, parents, np.arange(len(token_ids)) if logits_at is None else logits_at)

    def random_row(self, rng: np.random.Generator, num_tokens: int, *, as_chain: bool) -> Row:
        first = len(self.tokens)
        if as_chain:
            parents = chain(first, num_tokens)
        else:
            parents = np.array([rng.integers(-1, first + index) for index in range(num_tokens)], dtype=np.int64)
        asked = np.flatnonzero(rng.random(num_tokens) < 0.7)
        return self.row(rng.integers(0, VOCAB_SIZE, num_tokens), parents, asked)

    def path_to(self, node: int) -> list[int]:
        path = []
        while node >= 0:
            path.append(node)
            node = self.parents[node]
        return path[::-1]

    def settle(self, path: list[int]) -> None:
        self.sequence.settle(path)
        self.settled += [self.tokens[node] for node in path]
        self._forget_nodes()

    def rollback(self, length: int) -> None:
        self.sequence.rollback(length)
        kept = self.sequence.length
        assert kept == length or (self.shares and 0 <= kept < length)
        del self.settled[kept:]
        self._forget_nodes()

    def adopt(self, token_ids: list[int]) -> int:
        """What is found of tokens that go on from the settled ones counts as settled."""
        text = self.settled + token_ids
        gained = self.sequence.adopt(text, len(text))
        if gained:
            self.settled += token_ids[:gained]
            self._forget_nodes()
        return gained

    def _forget_nodes(self) -> None:
        self.tokens, self.parents = [], []
        assert self.sequence.length == len(self.settled)
        assert self.sequence.num_unsettled == 0

    def expected(self, model: Tiny, row: Row) -> torch.Tensor:
        """The plain model's logits of the row, each from a forward pass over that node's own path."""
        first = len(self.tokens) - len(row.token_ids)
        logits = [
            model.plain_logits(self.settled + [self.tokens[node] for node in self.path_to(first + int(at))])[-1]
            for at in row.logits_at
        ]
        return torch.stack(logits) if logits else torch.empty((0, VOCAB_SIZE))


def feed(model: Tiny, engine: Engine, fed: list[tuple[Mirror, Row]]) -> None:
    """Run the rows in one forward pass, audit the engine, and compare every logit to the plain model's."""
    actual = engine.forward([row for _, row in fed])
    engine.check_integrity()
    expected = torch.cat([mirror.expected(model, row) for mirror, row in fed])
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)
    for mirror, _ in fed:
        assert mirror.sequence.num_unsettled == len(mirror.tokens)
