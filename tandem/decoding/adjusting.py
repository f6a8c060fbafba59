"""Penalties and bias: what a request adds to the logits of single tokens, before anything else is done to them.

As OpenAI defines them: logit - presence · [count > 0] - frequency · count + bias, where count is how often the token
was generated before; the prompt does not count. In a token tree every node has counts of its own: those of the text,
and of the path from the root to the node, so that a drafted token is judged as it would be decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tandem.decoding.values import Floats, Ids, Sampling

_NO_IDS: Ids = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is added to the logits of a few tokens at some places; all other logits stay as they are."""

    token_ids: Ids  # [tokens], rising
    deltas: Floats  # [places, tokens]


@dataclass(frozen=True, slots=True)
class Tally:
    """How often each token was generated."""

    token_ids: Ids  # [tokens], rising
    counts: Ids  # [tokens], positive

    @classmethod
    def of(cls, token_ids: Sequence[int]) -> Tally:
        """Counts the tokens of a text."""
        return cls(*np.unique(np.array(token_ids, np.int64), return_counts=True))


NOTHING_SAID = Tally(_NO_IDS, _NO_IDS)


@dataclass(frozen=True, slots=True)
class Adjuster:
    """One request's penalties and bias."""

    presence: float
    frequency: float
    biased: Ids  # [biases]
    biases: Floats  # [biases]

    @classmethod
    def of(cls, sampling: Sampling) -> Adjuster | None:
        """None where a request has neither, which costs nothing from here on."""
        presence, frequency = sampling.presence_penalty, sampling.frequency_penalty
        if not (presence or frequency or sampling.logit_bias):
            return None
        biased = np.array([token for token, _ in sampling.logit_bias], np.int64)
        return cls(presence, frequency, biased, np.array([bias for _, bias in sampling.logit_bias], np.float64))

    def after(self, said: Tally, tree_tokens: Ids, tree_parents: Ids, nodes: Ids) -> Adjustment:
        """The adjustment of what follows some nodes of a token tree on a text.

        Args:
            said: of the text's generated tokens
            tree_tokens: [tree], the tokens of the tree's nodes
            tree_parents: [tree], -1 is the end of the text
            nodes: [places], -1 is the end of the text
        """
        counted = self.presence != 0 or self.frequency != 0
        token_ids = np.unique(np.concatenate((self.biased, said.token_ids, tree_tokens)) if counted else self.biased)
        deltas = np.zeros((len(nodes), len(token_ids)))
        if counted:
            counts = np.zeros(deltas.shape, np.int64)
            counts[:, np.searchsorted(token_ids, said.token_ids)] = said.counts
            columns, at = np.searchsorted(token_ids, tree_tokens), nodes.copy()
            while len(below := np.flatnonzero(at >= 0)):
                # One step up from every place that has not reached the root: a place is met once in each.
                counts[below, columns[at[below]]] += 1
                at[below] = tree_parents[at[below]]
            deltas -= self.presence * (counts > 0) + self.frequency * counts
        deltas[:, np.searchsorted(token_ids, self.biased)] += self.biases
        return Adjustment(token_ids, deltas)
