"""Multi-candidate rejection over a token tree (SpecInfer, Miao et al. 2024), for candidates without replacement
(recursive rejection sampling, Jeon et al. 2024): lossless."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import draft_rows, log_weights, spread, totals
from tandem.decoding.rounds import Judged, RoundDraws
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
        children: dict[int, list[int]] = {}
        for child, parent in enumerate(tree.parents.tolist()):
            children.setdefault(parent, []).append(child)
        if not children:
            return Judged((), target.log_probs[0])
        draft_ids, draft_probs = draft_rows(proposal, np.array(list(children)))
        row_of = {node: row for row, node in enumerate(children)}
        tokens, accepts = tree.token_ids.tolist(), draws.accepts.tolist()
        path: list[int] = []
        node = -1
        while node in children:
            ids, weights = target.ids[node + 1], np.exp(target.log_probs[node + 1])
            drafted, probs = draft_ids[row_of[node]], draft_probs[row_of[node]]
            for child in children[node]:
                here = drafted == tokens[child]
                if accepts[child] * float(probs[here].sum()) < float(weights[ids == tokens[child]].sum()):
                    node = child
                    path.append(node)
                    break
                residual = np.maximum(weights - spread(drafted, probs, ids), 0.0)
                rest = totals(residual)
                if rest > 0:  # otherwise p was q up to rounding, and a refusal had no probability
                    weights = residual / rest
                left = np.where(here, 0.0, probs)
                rest = totals(left)
                if rest > 0:
                    probs = left / rest
            else:
                return Judged(tuple(path), log_weights(weights))
        return Judged(tuple(path), target.log_probs[node + 1])
