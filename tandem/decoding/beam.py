"""Drawing the next layer of token trees, for many sessions in one step.

Beam sampling: of all continuations of a session's beams, draw some *without replacement* with probability proportional
to their joint draft probability. Gumbel-top-k over the joint log-probabilities does that at once (Kool, van Hoof and
Welling 2019). A group of one beam from which one token is drawn is ordinary sampling, so every way of drafting is this
one step with other groups. Without noise it is beam search.
"""

from __future__ import annotations

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


def draw_layer(support: Support, joint_log_probs: Floats, noise: Floats, groups: Ids, counts: Ids) -> Layer:
    """Draws continuations of beams without replacement.

    Args:
        support: [beams, width], the warped draft distribution after each beam
        joint_log_probs: [beams], of the beams themselves
        noise: [beams, width], Gumbel numbers, or zeros for beam search
        groups: [beams], rising from 0 without gaps: beams that compete
        counts: [groups], how many to draw from each; fewer are drawn where fewer have positive probability
    """
    width = support.ids.shape[1]
    joint = joint_log_probs[:, None] + support.log_probs  # [beams, width]
    sizes = np.bincount(groups, minlength=len(counts))
    starts = np.cumsum(sizes) - sizes
    lanes = int(sizes.max(initial=0))
    scores = joint + noise
    if lanes * len(counts) != len(groups):
        ragged, scores = scores, np.full((len(counts) * lanes, width), -np.inf)
        scores[groups * lanes + np.arange(len(groups)) - starts[groups]] = ragged
    flat = scores.reshape(len(counts), lanes * width)
    most = min(int(counts.max(initial=0)), lanes * width)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :most]  # [groups, most]
    drawn = flat[np.arange(len(counts))[:, None], order] > -np.inf
    drawn &= np.arange(most) < counts[:, None]
    group = np.nonzero(drawn)[0]
    beams, columns = np.divmod(order[drawn], width)
    beams += starts[group]
    return Layer(beams, columns, support.ids[beams, columns], joint[beams, columns])
