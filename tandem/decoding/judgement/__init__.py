"""How a proposal is judged: one small frozen class a rule, from arrays and explicit draws to what is accepted."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tandem.decoding.rounds import Judged, RoundDraws
from tandem.decoding.values import Floats, Ids, Proposal, TokenTree
from tandem.decoding.warp import Support
from tandem.errors import InvalidArgument


class Judgement(Protocol):
    """A rule of acceptance."""

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        """Judges one proposal.

        Args:
            proposal: the token tree and what it was drawn from
            target: the warped target distributions, row 0 at the root and row i + 1 at node i
            draws: the round's randomness

        Raises:
            InvalidArgument: the proposal lacks what this rule judges by.
        """
        ...


def target_joint_log_probs(tree: TokenTree, target: Support) -> Floats:
    """Warped target log-probability of the path to each node, [nodes]."""
    log_probs = target.log_prob(tree.parents + 1, tree.token_ids)
    if tree.is_chain:
        return np.cumsum(log_probs)
    joint: list[float] = []
    for log_prob, parent in zip(log_probs.tolist(), tree.parents.tolist(), strict=True):
        joint.append(log_prob + joint[parent] if parent >= 0 else log_prob)
    return np.array(joint)


def draft_rows(proposal: Proposal, nodes: Ids) -> tuple[Ids, Floats]:
    """The draft distributions that the children of ``nodes`` were drawn from: ids and probabilities, [n, width] each.

    Raises:
        InvalidArgument: the proposal does not carry exactly one for each.
    """
    given = proposal.distributions
    if given is None:
        raise InvalidArgument("the proposal carries no draft distributions, and this method judges by them")
    if given.nodes.tolist() == nodes.tolist():
        return given.ids, np.exp(given.log_probs)
    found = given.nodes == nodes[:, None]
    if (np.count_nonzero(found, axis=1) != 1).any():
        raise InvalidArgument(
            "this method judges by exactly one draft distribution at the root and at each node that has children; "
            f"the proposal carries some at nodes {given.nodes.tolist()}, and wanted are {nodes.tolist()}"
        )
    rows = found.argmax(axis=1)
    return given.ids[rows], np.exp(given.log_probs[rows])


def spread(ids: Ids, probs: Floats, onto: Ids) -> Floats:
    """Probabilities of tokens ``onto`` [..., n] in distributions by ``ids`` and ``probs`` [..., width], [..., n]."""
    found: Floats = np.where(onto[..., :, None] == ids[..., None, :], probs[..., None, :], 0.0).sum(axis=-1)
    return found


def totals(weights: Floats) -> Floats:
    """Sums of the last axis, term by term: columns of zeros at the end change no bit."""
    return np.cumsum(weights, axis=-1)[..., -1]


def log_weights(weights: Floats) -> Floats:
    """Natural logarithm, -inf for weights that are not positive."""
    return np.log(weights, where=weights > 0, out=np.full(weights.shape, -np.inf))


def require_chain(proposal: Proposal) -> None:
    """Refuses a proposal with branches.

    Raises:
        InvalidArgument: a node has a sibling.
    """
    if not proposal.tree.is_chain:
        raise InvalidArgument("this method judges one sequence of tokens; the proposal is a tree with branches")
