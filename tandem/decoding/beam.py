"""Drawing the next layer of token trees, for many sessions in one step.

Beam sampling: of all continuations of a session's beams, draw some *without replacement* with probability proportional
to their joint draft probability. Gumbel-top-k over the joint log-probabilities does that at once (Kool, van Hoof and
Welling 2019). A group of one beam from which one token is drawn is ordinary sampling, so every way of drafting is this
one step with other groups. Without noise it is beam search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tandem.decoding.values import Floats, Ids
from tandem.decoding.warp import Support


@dataclass(frozen=True, slots=True)
class Layer:
    """Continuations that were drawn, group by group, in the order in which they were drawn; each array [drawn]."""

    beams: Ids
    """Which beam (row of the support) each one continues."""
    columns: Ids
    """Which column of the support it is."""
    token_ids: Ids
    joint_log_probs: Floats


class Groups:
    """Beams that compete for a number of continuations, group by group; the beams of a group stand together."""

    def __init__(self, sizes: Sequence[int], counts: Sequence[int]) -> None:
        """Of ``sizes[i]`` beams, ``counts[i]`` continuations are drawn: fewer where fewer have positive probability."""
        self.starts = np.cumsum([0, *sizes[:-1]])  # [groups]
        self.counts = np.array(counts)  # [groups]
        self.lanes, self.most = max(sizes), max(counts)
        self.rows = np.arange(len(sizes))[:, None]
        self.padded: Ids | None = None
        """Where groups differ in size: each beam's place when all are padded to the largest, [beams]."""
        if min(sizes) < self.lanes:
            places = [group * self.lanes + lane for group, size in enumerate(sizes) for lane in range(size)]
            self.padded = np.array(places)


def draw_layer(support: Support, joint_log_probs: Floats, noise: Floats, groups: Groups) -> Layer:
    """Draws continuations of beams without replacement.

    Args:
        support: [beams, width], the warped draft distribution after each beam
        joint_log_probs: [beams], of the beams themselves
        noise: [beams, width], Gumbel numbers, or zeros for beam search
        groups: which beams compete, and for how many continuations
    """
    width = support.ids.shape[1]
    joint = joint_log_probs[:, None] + support.log_probs  # [beams, width]
    scores = joint + noise
    if groups.padded is not None:
        ragged, scores = scores, np.full((len(groups.counts) * groups.lanes, width), -np.inf)
        scores[groups.padded] = ragged
    flat = scores.reshape(len(groups.counts), -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, : groups.most]  # [groups, most]
    drawn = flat[groups.rows, order] > -np.inf
    drawn &= np.arange(order.shape[1]) < groups.counts[:, None]
    group = np.nonzero(drawn)[0]
    beams, columns = np.divmod(order[drawn], width)
    beams += groups.starts[group]
    return Layer(beams, columns, support.ids[beams, columns], joint[beams, columns])
