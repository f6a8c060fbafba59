"""Speculative sampling, token by token (Leviathan, Kalman and Matias 2023): exactly the target's distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import Judged, draft_row, log_weights, require_chain, spread
from tandem.decoding.rng import RoundDraws
from tandem.decoding.values import Proposal
from tandem.decoding.warp import Support


@dataclass(frozen=True, slots=True)
class Speculative:
    """Accepts each drafted token with min(1, p/q); at the first refusal draws from the residual (p - q)+."""

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        require_chain(proposal)
        for depth, token in enumerate(proposal.tree.token_ids.tolist()):
            ids, log_probs = target.ids[depth], target.log_probs[depth]
            draft_ids, draft_probs = draft_row(proposal, depth - 1)
            target_prob = float(np.exp(log_probs[ids == token]).sum())
            draft_prob = float(draft_probs[draft_ids == token].sum())
            if draws.accepts(depth, depth) * draft_prob >= target_prob:
                residual = log_weights(np.exp(log_probs) - spread(draft_ids, draft_probs, ids))
                return Judged(tuple(range(depth)), draws.choose(ids, residual, depth, depth - 1))
        length = len(proposal.tree.token_ids)
        extra = draws.choose(target.ids[length], target.log_probs[length], length, length - 1)
        return Judged(tuple(range(length)), extra)
