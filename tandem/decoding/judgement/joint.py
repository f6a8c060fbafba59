"""Multi-token assisted decoding: acceptance by joint likelihood (MTAD, arXiv 2407.09722, ICLR 2025)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tandem.decoding.judgement import require_chain, target_joint_log_probs
from tandem.decoding.rounds import Judged, RoundDraws
from tandem.decoding.values import Proposal, TokenTree
from tandem.decoding.warp import Support


def _keep(tree: TokenTree, node: int, target: Support) -> Judged:
    """Accepts the path to ``node`` (-1: nothing); the token after it is the target's."""
    return Judged(tree.path(node), target.log_probs[node + 1])


@dataclass(frozen=True, slots=True)
class JointSequence:
    """``mtad``: of one drafted sequence, the *longest* prefix with min(1, p(y1..j) / q(y1..j)) > threshold.

    Not "stop at the first failure": a prefix may fail at depth 2 and pass at depth 4.
    """

    threshold: float

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        require_chain(proposal)
        tree = proposal.tree
        with np.errstate(invalid="ignore"):
            # -inf - (-inf) is not a number, and no comparison with it holds: a refusal, as it must be.
            passing = target_joint_log_probs(tree, target) - tree.draft_joint_log_probs > math.log(self.threshold)
        passed = np.flatnonzero(passing)
        return _keep(tree, int(passed[-1]) if len(passed) else -1, target)


@dataclass(frozen=True, slots=True)
class JointTree:
    """``mmtad``: of all drafted beams, the deepest node whose joint target likelihood clears the bar of its depth:
    threshold times the joint draft likelihood of the best beam there. Of several, the one the target likes best.
    """

    threshold: float

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """See :class:`tandem.decoding.judgement.Judgement`."""
        tree = proposal.tree
        if len(tree.token_ids) == 0:
            return _keep(tree, -1, target)
        depths = tree.depths
        deepest = np.flatnonzero(depths == depths[-1])
        best_beam = tree.path(int(deepest[np.argmax(tree.draft_joint_log_probs[deepest])]))
        bars = math.log(self.threshold) + tree.draft_joint_log_probs[list(best_beam)]  # [depths]
        joint = target_joint_log_probs(tree, target)
        passing = joint > bars[depths - 1]
        if not passing.any():
            return _keep(tree, -1, target)
        level = np.flatnonzero(passing & (depths == depths[passing].max()))
        return _keep(tree, int(level[np.argmax(joint[level])]), target)
