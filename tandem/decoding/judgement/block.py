"""Block verification (Sun et al. 2024, arXiv 2403.10444, algorithm 2): lossless; no fewer tokens than one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import draft_rows, log_weights, require_chain, spread, totals
from tandem.decoding.rounds import Judged, RoundDraws
from tandem.decoding.values import Proposal
from tandem.decoding.warp import Support


@dataclass(frozen=True, slots=True)
class Block:
    """Judges the whole block jointly.

    With w_0 = 1 and w_i = min(1, w_{i-1} p(x_i)/q(x_i)), prefix i is accepted with probability
    h_i = r_i / (r_i + 1 - w_i), where r_i = sum_x (w_i p(x) - q(x))+ over the token after it; the whole block with w_γ.
    The longest accepted prefix is kept, and the next token drawn from (w_i p - q)+.
    """

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        require_chain(proposal)
        tree = proposal.tree
        length = len(tree.token_ids)
        if not length:
            return Judged((), target.log_probs[0])
        draft_ids, draft_probs = draft_rows(proposal, tree.parents)
        token_draft_probs = spread(draft_ids, draft_probs, tree.token_ids[:, None])[:, 0]
        token_target_probs = np.exp(target.log_prob(tree.parents + 1, tree.token_ids))
        weights = [1.0]
        for target_prob, draft_prob in zip(token_target_probs.tolist(), token_draft_probs.tolist(), strict=True):
            weight = weights[-1] * target_prob
            # A token that its own drafter claims never to draw is judged by the target: 0 / 0 is a refusal.
            weights.append(min(1.0, weight / draft_prob) if draft_prob > 0 else float(weight > 0))
        # What remains to be drawn from after i accepted tokens, (w_i p - q)+ over the target's support, [length, width]
        residuals = np.maximum(
            np.array(weights[:-1])[:, None] * np.exp(target.log_probs[:length])
            - spread(draft_ids, draft_probs, target.ids[:length]),
            0.0,
        )
        shares = [
            rest / (rest + (1.0 - weight)) if rest > 0 else 0.0  # a small rest would be lost in a sum with 1
            for rest, weight in zip(totals(residuals[1:]).tolist(), weights[1:-1], strict=True)
        ]
        passed = np.flatnonzero(draws.accepts < np.array([*shares, weights[-1]]))
        kept = int(passed[-1]) + 1 if len(passed) else 0
        extra = target.log_probs[length] if kept == length else log_weights(residuals[kept])
        return Judged(tuple(range(kept)), extra)
