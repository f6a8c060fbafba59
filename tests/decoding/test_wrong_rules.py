"""Rules that are almost right fail the comparison that the right ones pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from tandem.decoding.judgement import Judgement, log_weights
from tandem.decoding.judgement.block import Block
from tandem.decoding.judgement.speculative import Speculative
from tandem.decoding.methods import METHODS, Drafting, Method
from tandem.decoding.rounds import Judged, RoundDraws
from tandem.decoding.values import Floats, Ids, Proposal, Speculation
from tandem.decoding.warp import Support
from tests.support.enumerated import LEAST_P, exact, texts
from tests.support.enumeration import goodness_of_fit


@dataclass(frozen=True)
class ExtraFromTheTarget:
    """Speculative sampling whose correction ignores the residual."""

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        path = Speculative().judge(proposal, target, draws).path
        return Judged(path, target.log_probs[len(path)])


@dataclass(frozen=True)
class BlockWithoutWeight:
    """Block verification whose correction is the residual of token-by-token judging: (p - q)+, not (w p - q)+."""

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        judged = Block().judge(proposal, target, draws)
        depth = len(judged.path)
        if depth == len(proposal.tree.token_ids):
            return judged
        residual = np.exp(target.log_probs[depth]) - draft_probs(proposal, depth - 1, target.ids[depth])
        return Judged(judged.path, log_weights(residual))


@dataclass(frozen=True)
class SiblingsWithoutRenormalising:
    """Multi-candidate rejection that never renormalises, neither the residual nor what is left of the draft."""

    def judge(self, proposal: Proposal, target: Support, draws: RoundDraws) -> Judged:
        tree, path, node = proposal.tree, list[int](), -1
        while True:
            ids, weights = target.ids[node + 1], np.exp(target.log_probs[node + 1])
            drafted = draft_probs(proposal, node, ids) if (tree.parents == node).any() else np.zeros(len(ids))
            for child in np.flatnonzero(tree.parents == node):
                place = ids == tree.token_ids[child]
                if draws.accepts[child] * drafted[place].sum() < weights[place].sum():
                    break
                weights = np.maximum(weights - drafted, 0)
                drafted = np.where(place, 0, drafted)
            else:
                return Judged(tuple(path), log_weights(weights))
            node = int(child)
            path.append(node)


def draft_probs(proposal: Proposal, node: int, onto: Ids) -> Floats:
    given = proposal.distributions
    assert given is not None
    row = int(np.flatnonzero(given.nodes == node)[0])
    table = dict(zip(given.ids[row].tolist(), np.exp(given.log_probs[row]).tolist(), strict=True))
    return np.array([table.get(token, 0.0) for token in onto.tolist()])


CHAIN = Drafting(branches=1, with_distributions=True)
BY_POSITION = Drafting(branches=1, with_distributions=True, coupled=True)
SIBLINGS = Drafting(branches=None, with_distributions=True)


@pytest.mark.parametrize(
    ("drafting", "rule"),
    [
        pytest.param(CHAIN, ExtraFromTheTarget, id="speculative, extra from the target"),
        pytest.param(CHAIN, BlockWithoutWeight, id="block, residual without weight"),
        pytest.param(BY_POSITION, Block, id="block, noise keyed by position"),
        pytest.param(SIBLINGS, SiblingsWithoutRenormalising, id="specinfer, not renormalised"),
    ],
)
def test_a_wrong_rule_fails_the_same_comparison(
    monkeypatch: pytest.MonkeyPatch, drafting: Drafting, rule: Callable[[], Judgement]
) -> None:
    monkeypatch.setitem(METHODS, "wrong", Method("wrong", True, drafting, lambda _: rule()))
    decoded = texts(Speculation("wrong", draft_length=2, beam_width=3), 10_000)
    assert goodness_of_fit(decoded, exact()) < LEAST_P


def test_joint_methods_are_not_lossless_and_do_not_claim_it() -> None:
    for name in ("mtad", "mmtad"):
        assert not METHODS[name].lossless
        assert goodness_of_fit(texts(Speculation(name, draft_length=3), 4_000), exact()) < LEAST_P
