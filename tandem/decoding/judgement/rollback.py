"""Rollback on strong disagreement (Big Little Decoder, Kim et al. 2023, arXiv 2302.07863): lossy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import require_chain
from tandem.decoding.rounds import Judged, RoundDraws
from tandem.decoding.values import Proposal
from tandem.decoding.warp import Support


@dataclass(frozen=True, slots=True)
class Rollback:
    """Refuses the first drafted token x with p(x) < threshold, and with it all that follow; the target draws there.

    The paper rolls back where the cross-entropy of the target against the drafted token, -log p(x), exceeds α_RB:
    the threshold is exp(-α_RB). It decodes greedily and so reads the plain softmax. Here p is the distribution that a
    text is to be drawn from, the warped one: a token that the request's top-k or top-p excludes is always refused, and
    at temperature 0, where p is read unsharpened, the two agree but for that. The target may draw the refused token
    again; with the paper's argmax it does so only where that token was the most probable.
    """

    threshold: float

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        require_chain(proposal)
        tree = proposal.tree
        refused = np.flatnonzero(target.log_prob(tree.parents + 1, tree.token_ids) < math.log(self.threshold))
        kept = int(refused[0]) if len(refused) else len(tree.token_ids)
        return Judged(tuple(range(kept)), target.log_probs[kept])
