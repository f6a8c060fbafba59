"""Block verification (Sun et al. 2024, arXiv 2403.10444, algorithm 2): lossless; no fewer tokens than one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import Judged, draft_row, log_weights, require_chain, spread
from tandem.decoding.rng import RoundDraws
from tandem.decoding.values import Floats, Proposal
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
        tokens = proposal.tree.token_ids.tolist()
        weight = 1.0
        kept, kept_residual = 0, self._residual(proposal, target, 0, weight) if tokens else np.exp(target.log_probs[0])
        for depth, token in enumerate(tokens, start=1):
            draft_ids, draft_probs = draft_row(proposal, depth - 2)
            target_prob = float(np.exp(target.log_probs[depth - 1][target.ids[depth - 1] == token]).sum())
            draft_prob = float(draft_probs[draft_ids == token].sum())
            weight = min(1.0, weight * target_prob / draft_prob) if draft_prob > 0 else weight
            if depth == len(tokens):
                residual, share = np.exp(target.log_probs[depth]), weight
            else:
                residual = self._residual(proposal, target, depth, weight)
                total = float(residual.sum())
                share = total / (total + 1.0 - weight) if total > 0 else 0.0
            if draws.accepts(depth - 1, depth - 1) < share:
                kept, kept_residual = depth, residual
        extra = draws.choose(target.ids[kept], log_weights(kept_residual), kept, kept - 1)
        return Judged(tuple(range(kept)), extra)

    @staticmethod
    def _residual(proposal: Proposal, target: Support, depth: int, weight: float) -> Floats:
        """(w p - q)+ over the target's support after ``depth`` accepted tokens, [width]."""
        draft_ids, draft_probs = draft_row(proposal, depth - 1)
        ids = target.ids[depth]
        residual: Floats = np.maximum(
            weight * np.exp(target.log_probs[depth]) - spread(draft_ids, draft_probs, ids), 0.0
        )
        return residual
