"""Big Little Decoder: where its draft falls back and its target rolls back, by loops over dicts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tandem.decoding.judgement.rollback import Rollback
from tandem.decoding.methods import FALLBACK_THRESHOLD, METHODS
from tandem.decoding.values import Decoding, Outcome, Proposal, Sampling, Speculation, TokenTree
from tandem.engine.proposer import Proposer
from tandem.engine.verifier import Verifier
from tandem.errors import InvalidArgument
from tests.decoding.test_joint import chain, joint_of, judged_path, targets
from tests.support.decode import decode_rounds, decoding_of
from tests.support.enumeration import warped_table
from tests.support.tabular import TabularModel, random_tables

TABLES = random_tables(seed=5, closeness=0.6, spread=4.0)
"""Sharp ones, so that a draft is sure about half the time."""

Rounds = list[tuple[Proposal | None, Outcome]]


def bild(seed: int, sampling: Sampling, threshold: float = 0.135, draft_length: int = 4) -> Decoding:
    return decoding_of(sampling, Speculation("bild", draft_length, 3, threshold), seed, trace=True)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
@pytest.mark.parametrize("threshold", [0.01, 0.135, 0.6])
def test_whole_rounds_agree_with_the_rules_written_as_loops(temperature: float, threshold: float) -> None:
    sampling = Sampling(temperature, top_k=5, top_p=0.9)
    # At temperature 0 both sides read the softmax that is not sharpened.
    read = Sampling(temperature or 1.0, 5, 0.9)
    target_table, draft_table = warped_table(TABLES[0], read), warped_table(TABLES[1], read)
    lengths: list[int] = []
    num_rolled_back = 0
    for rounds in decode_rounds(TABLES, (3, 5), 20, [bild(seed, sampling, threshold) for seed in range(80)]):
        text = [3, 5]
        for proposal, outcome in rounds:
            assert proposal is not None
            drafted = proposal.tree.token_ids.tolist()
            for depth, token in enumerate(drafted):
                draft = draft_table[(*text, *drafted[:depth])[-2:]]
                assert max(draft.values()) >= FALLBACK_THRESHOLD
                assert token in draft
                if temperature == 0:
                    assert draft[token] == max(draft.values())
            if len(drafted) < 4:
                assert max(draft_table[(*text, *drafted)[-2:]].values()) < FALLBACK_THRESHOLD
            kept: list[int] = []
            for token in drafted:
                if target_table[(*text, *kept)[-2:]].get(token, 0.0) < threshold:
                    break
                kept.append(token)
            after = target_table[(*text, *kept)[-2:]]
            assert list(outcome.token_ids[:-1]) == kept
            assert (outcome.num_accepted, outcome.num_drafted) == (len(kept), len(drafted))
            assert outcome.token_ids[-1] in after
            if temperature == 0:
                assert outcome.token_ids[-1] == max(sorted(after), key=lambda token: after[token])
            lengths.append(len(drafted))
            num_rolled_back += len(kept) < len(drafted)
            text += outcome.token_ids
    assert set(lengths) >= {0, 1, 2, 4}  # drafts of every kind: none, stopped, whole
    assert num_rolled_back > 20


def test_a_probability_at_the_threshold_is_no_rollback() -> None:
    tree = chain([1, 1], joint_of(0.7, 0.7))
    assert judged_path(Rollback(0.25), tree, targets(0.25, 0.25)) == (0, 1)
    assert judged_path(Rollback(0.2501), tree, targets(0.25, 0.9)) == ()
    assert judged_path(Rollback(1e-9), tree, targets(0.9, 0.0)) == (0,)


def test_the_paper_s_distance_is_what_the_threshold_bounds() -> None:
    for alpha in (1.0, 2.0, 5.0):
        for prob in np.linspace(0.001, 0.999, 97).tolist():
            rolled_back = judged_path(Rollback(math.exp(-alpha)), chain([1], joint_of(0.7)), targets(prob)) == ()
            assert rolled_back == (-math.log(prob) > alpha)


def test_branches_are_not_judged_as_a_sequence() -> None:
    tree = TokenTree(np.array([1, 2]), np.array([-1, -1]), np.log([0.5, 0.3]))
    with pytest.raises(InvalidArgument, match="one sequence"):
        judged_path(Rollback(0.5), tree, targets(0.5, 0.5))


def test_drafts_that_stop_early_stop_where_they_do_alone() -> None:
    samplings = [Sampling(1.0, 5, 0.9), Sampling(0.0, 5, 0.9), Sampling(0.5, 0, 1.0)]
    names = ["bild", *(name for name, method in METHODS.items() if name != "bild" and not method.target_only)]
    decodings = [
        decoding_of(
            samplings[index // 12 % 3],
            Speculation(names[index // 2 % len(names)] if index % 2 else "bild", 1 + index // 2 % 6, 3, 0.3),
            index,
            trace=True,
        )
        for index in range(90)
    ]
    together = decode_rounds(TABLES, (3, 5), 15, decodings)
    for decoding, rounds in zip(decodings, together, strict=True):
        (alone,) = decode_rounds(TABLES, (3, 5), 15, [decoding])
        assert contents(rounds) == contents(alone)
    assert {outcome.num_drafted for rounds in together[::2] for _, outcome in rounds} == set(range(7))


def contents(rounds: Rounds) -> list[tuple[object, ...]]:
    """All that says what a round was: proposals are compared by their digests, which are of all their bits."""
    return [
        (proposal and proposal.digest, outcome.token_ids, outcome.log_probs, outcome.next_digest, outcome.trace)
        for proposal, outcome in rounds
    ]


def test_a_draft_that_is_nowhere_sure_is_an_empty_proposal_and_one_token() -> None:
    unsure = np.zeros((8, 8, 8))
    decodings = [bild(seed, Sampling(1.0, 0, 1.0)) for seed in range(20)]
    for rounds in decode_rounds((TABLES[0], unsure), (3, 5), 6, decodings):
        assert len(rounds) == 6
        for proposal, outcome in rounds:
            assert proposal is not None
            assert len(proposal.tree.token_ids) == 0
            assert len(proposal.digest) == 16
            assert (outcome.num_drafted, outcome.num_accepted, len(outcome.token_ids)) == (0, 0, 1)
            assert outcome.num_target_passes == 1
            assert outcome.trace is not None
            assert outcome.trace.token_ids == outcome.trace.target_joint_log_probs == ()


def test_a_draft_that_is_always_sure_is_never_cut() -> None:
    sure = np.zeros((8, 8, 8))
    sure[:, :, 3] = 20.0
    for rounds in decode_rounds((sure, sure), (3, 5), 20, [bild(0, Sampling(1.0, 0, 1.0), draft_length=7)]):
        assert [(outcome.num_drafted, outcome.num_accepted) for _, outcome in rounds] == [(7, 7)] * len(rounds)


def test_what_a_stopped_draft_has_read_is_not_read_again() -> None:
    target, draft = TabularModel(TABLES[0]), TabularModel(TABLES[1])
    verifier, proposer = Verifier(target), Proposer(draft)
    decoding = bild(2, Sampling(1.0, 5, 0.9), 0.01)
    text, drafted = verifier.open([3, 5], decoding), proposer.open([3, 5], decoding)
    pending, num_kept_whole = 2, 0
    for _ in range(60):
        before = draft.num_fed
        (proposal,) = proposer.propose([drafted])
        assert isinstance(proposal, Proposal)
        depth = proposal.tree.depth
        assert draft.num_fed - before == pending + min(depth, 3)  # all but a fourth layer was read
        (outcome,) = verifier.judge([(text, proposal)])
        assert isinstance(outcome, Outcome)
        drafted.extend(outcome.token_ids)
        assert drafted.token_ids == text.token_ids
        pending = max(1, drafted.position - drafted.cached_position)
        if outcome.num_accepted == depth < 4:
            assert pending == 1  # the extra token alone
            num_kept_whole += depth > 0
    assert num_kept_whole > 3
