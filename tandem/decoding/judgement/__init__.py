"""How a proposal is judged: one small frozen class a rule, from arrays and explicit draws to what is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tandem.decoding.rng import RoundDraws
from tandem.decoding.values import Floats, Ids, Proposal, TokenTree
from tandem.decoding.warp import Support
from tandem.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Judged:
    """What a round keeps: a path of the proposal's nodes from the root, then one token of the target's."""

    path: tuple[int, ...]
    extra_token_id: int


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
    joint = target.log_prob(tree.parents + 1, tree.token_ids)
    for node, parent in enumerate(tree.parents.tolist()):
        if parent >= 0:
            joint[node] += joint[parent]
    return joint


def draft_row(proposal: Proposal, node: int) -> tuple[Ids, Floats]:
    """The draft distribution that ``node``'s children were drawn from: ids and probabilities, [width] each.

    Raises:
        InvalidArgument: the proposal does not carry it.
    """
    given = proposal.distributions
    rows = np.flatnonzero(given.nodes == node) if given is not None else np.empty(0, np.int64)
    if given is None or len(rows) != 1:
        raise InvalidArgument(
            f"the proposal carries {len(rows)} draft distributions at node {node}; "
            "this method judges by exactly one at the root and at each node that has children"
        )
    return given.ids[rows[0]], np.exp(given.log_probs[rows[0]])


def spread(ids: Ids, probs: Floats, onto: Ids) -> Floats:
    """Probabilities of the tokens ``onto`` [n] in a distribution given by ids and probabilities [width], [n]."""
    found: Floats = np.where(onto[:, None] == ids[None, :], probs[None, :], 0.0).sum(axis=1)
    return found


def log_weights(weights: Floats) -> Floats:
    """Natural logarithm, -inf for weights that are not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(weights > 0, np.log(weights), -np.inf)


def require_chain(proposal: Proposal) -> None:
    """Refuses a proposal with branches.

    Raises:
        InvalidArgument: a node has a sibling.
    """
    if not np.array_equal(proposal.tree.parents, np.arange(-1, len(proposal.tree.parents) - 1)):
        raise InvalidArgument("this method judges one sequence of tokens; the proposal is a tree with branches")
