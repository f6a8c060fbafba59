"""Typical acceptance (Medusa, Cai et al. 2024, arXiv 2401.10774): what the target finds plausible is kept. Lossy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import require_chain, totals
from tandem.decoding.rounds import Judged, RoundDraws
from tandem.decoding.values import Floats, Proposal
from tandem.decoding.warp import Support


def entropies(target: Support) -> Floats:
    """Entropy of each distribution in nats, [rows]."""
    probs = np.exp(target.log_probs)
    # What is outside the support weighs nothing: 0 log 0 is 0.
    return -totals(probs * np.where(probs > 0, target.log_probs, 0.0))


@dataclass(frozen=True, slots=True)
class Typical:
    """Accepts a drafted token x while p(x) > min(ε, δ exp(-H)), p the warped target there, H its entropy and δ = √ε.

    The surer the target, the higher the bar, up to ε; where many tokens would do it falls with exp(-H). The target's
    most probable token always clears it, for its probability is at least exp(-H). Nothing is drawn to decide, and p is
    never compared with what the draft claimed, so a token is as welcome from a careless drafter as from a good one.

    Medusa takes each round's first token from the target itself and so never judges it; here every drafted token is
    judged, and the extra token, the target's own, is that first token one round earlier: both advance by at least one.
    Medusa's code takes it by argmax unless told otherwise, here it is drawn from p. At temperature 0 p is one-hot, and
    this is greedy decoding, as it is in Medusa.
    """

    epsilon: float

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        require_chain(proposal)
        tree = proposal.tree
        length = len(tree.token_ids)
        log_epsilon = math.log(self.epsilon)
        bars = np.minimum(log_epsilon, 0.5 * log_epsilon - entropies(target.part(0, length)))  # [length]
        refused = np.flatnonzero(target.log_prob(tree.parents + 1, tree.token_ids) <= bars)
        kept = int(refused[0]) if len(refused) else length
        return Judged(tuple(range(kept)), target.log_probs[kept])
