"""Multi-candidate rejection over a token tree (SpecInfer, Miao et al. 2024), for candidates without replacement
(recursive rejection sampling, Jeon et al. 2024): lossless."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import Judged, draft_row, log_weights, spread
from tandem.decoding.rng import RoundDraws
from tandem.decoding.values import Proposal
from tandem.decoding.warp import Support


@dataclass(frozen=True, slots=True)
class SpecInfer:
    """Sibling by sibling in the order drawn: accept with min(1, p/q); after a refusal p becomes the residual (p - q)+
    renormalised, and q what is left to draw from once the refused candidate is taken out.
    """

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        tree = proposal.tree
        path: list[int] = []
        node = -1
        while True:
            depth = len(path)
            ids, weights = target.ids[node + 1], np.exp(target.log_probs[node + 1])
            accepted = -1
            children = np.flatnonzero(tree.parents == node).tolist()
            if children:
                draft_ids, draft_probs = draft_row(proposal, node)
            for child in children:
                token = int(tree.token_ids[child])
                draft_prob = float(draft_probs[draft_ids == token].sum())
                if draws.accepts(depth, child) * draft_prob < float(weights[ids == token].sum()):
                    accepted = child
                    break
                residual = np.maximum(weights - spread(draft_ids, draft_probs, ids), 0.0)
                if residual.sum() > 0:  # otherwise p was q up to rounding, and a refusal had no probability
                    weights = residual / residual.sum()
                left = np.where(draft_ids == token, 0.0, draft_probs)
                if left.sum() > 0:
                    draft_probs = left / left.sum()
            if accepted < 0:
                return Judged(tuple(path), draws.choose(ids, log_weights(weights), depth, node))
            node = accepted
            path.append(node)
