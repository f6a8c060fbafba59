"""Gumbel coupling (Daliri, Musco and Suresh 2024, arXiv 2408.07978), and plain decoding as its special case."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.decoding.rounds import Judged, RoundDraws
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
        path: list[int] = []
        node = -1
        if not len(proposal.tree.token_ids):
            return Judged((), target.log_probs[0])
        choices = draws.choices.tolist()
        # Children stand after their parent, so one walk through the nodes meets the whole path.
        for child, (parent, token) in enumerate(
            zip(proposal.tree.parents.tolist(), proposal.tree.token_ids.tolist(), strict=True)
        ):
            if parent == node and token == choices[node + 1]:
                node = child
                path.append(node)
        # Drawn by the same noise, the extra token is choices[node + 1] again.
        return Judged(tuple(path), target.log_probs[node + 1])
