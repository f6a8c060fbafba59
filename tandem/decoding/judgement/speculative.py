"""Speculative sampling, token by token (Leviathan, Kalman and Matias 2023): exactly the target's distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import draft_rows, log_weights, require_chain, spread
from tandem.decoding.rounds import Judged, RoundDraws
from tandem.decoding.values import Proposal
from tandem.decoding.warp import Support


@dataclass(frozen=True, slots=True)
class Speculative:
    """Accepts each drafted token with min(1, p/q); at the first refusal draws from the residual (p - q)+."""

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
        refused = np.flatnonzero(draws.accepts * token_draft_probs >= token_target_probs)
        if not len(refused):
            return Judged(tuple(range(length)), target.log_probs[length])
        depth = int(refused[0])
        residual = np.exp(target.log_probs[depth]) - spread(draft_ids[depth], draft_probs[depth], target.ids[depth])
        return Judged(tuple(range(depth)), log_weights(residual))
