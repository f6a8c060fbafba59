"""Gumbel coupling (Daliri, Musco and Suresh 2024, arXiv 2408.07978), and plain decoding as its special case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import Judged
from tandem.decoding.rng import RoundDraws
from tandem.decoding.values import Proposal
from tandem.decoding.warp import Support


@dataclass(frozen=True, slots=True)
class Coupled:
    """The target's token at a position is argmax(log p + G) with G fixed by (seed, position); drafted tokens are
    accepted while they are that token. So the text never depends on what was drafted, or whether anything was:
    without a proposal this is plain decoding.
    """

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        tree = proposal.tree
        path: list[int] = []
        node = -1
        while True:
            token = draws.choose_at_position(target.ids[node + 1], target.log_probs[node + 1], len(path))
            children = np.flatnonzero((tree.parents == node) & (tree.token_ids == token))
            if len(children) == 0:
                return Judged(tuple(path), token)
            node = int(children[0])
            path.append(node)
