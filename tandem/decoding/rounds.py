"""Rounds that are judged together: what each draws depends on its own key alone, but all draw in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from tandem.decoding.rng import Purpose, RoundKeys
from tandem.decoding.values import Floats, Ids, TokenTree
from tandem.decoding.warp import Candidates, Support

_ROOT_DEPTH = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a round keeps: a path of the proposal's nodes from the root, and what the token after it is drawn by."""

    path: tuple[int, ...]
    extra_log_weights: Floats
    """Of the tokens in the target's support after the path, [width]; a constant may be added to all."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """What a round adds to its text: the tokens of the path, then the extra one."""

    token_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    """Of each token under the target, unwarped."""
    rows: tuple[int, ...]
    """Where each was read, among the rows of all rounds."""


class Rounds:
    """Some rounds' trees laid end to end: for each a row for its root, then one for each node."""

    def __init__(self, keys: RoundKeys, trees: Sequence[TokenTree], target: Support) -> None:
        """``keys`` and ``target`` (the warped target distributions after each row's node) have a row for each."""
        counts = [len(tree.token_ids) + 1 for tree in trees]
        stops = list(accumulate(counts))
        self._trees = trees
        self._target = target
        self._keys = keys
        self._nodes = np.array([node for count in counts for node in range(-1, count - 1)])  # -1 for the root
        self._depths = np.concatenate([depths for tree in trees for depths in (_ROOT_DEPTH, tree.depths)])
        self.rows = [slice(stop - count, stop) for stop, count in zip(stops, counts, strict=True)]
        """Each round's rows."""

    def target(self, index: int) -> Support:
        """The target's distributions in one round, [nodes + 1]."""
        return self._target.part(self.rows[index].start, self.rows[index].stop)

    def draws(self, index: int) -> RoundDraws:
        """The draws of one round."""
        return RoundDraws(self, self.rows[index])

    def emit(self, judged: Mapping[int, Judged], candidates: Candidates) -> dict[int, Emitted]:
        """Draws the extra token of every round that was judged, and reads its tokens' log-probabilities."""
        if not judged:
            return {}
        # A token is read at the node before it: the first at the root.
        read = [[self.rows[index].start + 1 + node for node in (-1, *kept.path)] for index, kept in judged.items()]
        log_weights = np.concatenate([kept.extra_log_weights for kept in judged.values()]).reshape(len(judged), -1)
        extras = self._draw(np.array([rows[-1] for rows in read]), log_weights).tolist()
        tokens: list[tuple[int, ...]] = []
        for (index, kept), extra in zip(judged.items(), extras, strict=True):
            token_ids = self._trees[index].token_ids
            tokens.append((*[int(token_ids[node]) for node in kept.path], extra))
        flat_rows = np.array([row for rows in read for row in rows])
        flat_tokens = np.array([token for emitted in tokens for token in emitted])
        log_probs = iter(candidates.log_prob(flat_rows, flat_tokens).tolist())
        return {
            index: Emitted(emitted, tuple(next(log_probs) for _ in emitted), tuple(rows))
            for index, emitted, rows in zip(judged, tokens, read, strict=True)
        }

    @cached_property
    def accepts(self) -> Floats:
        """A uniform number for each node's acceptance, [rows]; those of the roots mean nothing."""
        return self._keys.accepts(self._depths - 1, self._nodes)

    @cached_property
    def choices(self) -> Ids:
        """The target's own token after each row's node where tokens are drawn by absolute position, else -1; [rows]."""
        choices = np.full(len(self._nodes), -1)
        if self._keys.coupled is not None:
            rows = np.flatnonzero(self._keys.coupled)
            choices[rows] = self._draw(rows, self._target.log_probs[rows])
        return choices

    def _draw(self, rows: Ids, log_weights: Floats) -> Ids:
        """The token after the node of each of ``rows`` [n], by weights [n, width] of the row's support, [n]."""
        ids = self._target.ids[rows]
        keys = self._keys.take(rows)
        noise = keys.noise(keys.places(self._depths[rows], self._nodes[rows] + 1, Purpose.EXTRA), ids)
        drawn: Ids = ids[np.arange(len(rows)), np.argmax(log_weights + noise, axis=1)]
        return drawn


@dataclass(frozen=True, slots=True)
class RoundDraws:
    """What a rule may decide by in one round."""

    rounds: Rounds
    rows: slice

    @property
    def accepts(self) -> Floats:
        """Uniform numbers in (0, 1), one for each node, [nodes]."""
        return self.rounds.accepts[self.rows.start + 1 : self.rows.stop]

    @property
    def choices(self) -> Ids:
        """The target's own token at the root and after each node, drawn by absolute position, [nodes + 1]."""
        return self.rounds.choices[self.rows]
