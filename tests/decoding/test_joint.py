"""The joint rules against the same rules written as loops over dicts, and the bound they promise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from tandem.decoding.judgement import Judgement
from tandem.decoding.judgement.joint import JointSequence, JointTree
from tandem.decoding.rng import RoundKeys
from tandem.decoding.rounds import Rounds
from tandem.decoding.values import Outcome, Proposal, RoundTrace, Sampling, Speculation, TokenTree
from tandem.decoding.warp import Support
from tandem.errors import InvalidArgument
from tests.support.decode import decode_rounds, decoding_of
from tests.support.enumeration import Distribution, plain_warp, warped_table
from tests.support.tabular import random_tables

NEVER = -math.inf


def judged_path(rule: Judgement, tree: TokenTree, target: Sequence[Distribution]) -> tuple[int, ...]:
    """What a rule keeps; ``target[0]`` is the distribution at the root, ``target[i + 1]`` at node i."""
    width = max(len(row) for row in target)
    ids, probs = np.full((len(target), width), -1), np.zeros((len(target), width))
    for index, row in enumerate(target):
        ranked = sorted(row, key=lambda token: -row[token])
        ids[index, : len(row)], probs[index, : len(row)] = ranked, [row[token] for token in ranked]
    with np.errstate(divide="ignore"):
        support = Support(ids, np.log(probs), np.count_nonzero(probs, axis=1))
    keys = RoundKeys.of([1], [10], [False], [False]).take(np.zeros(len(target), int))
    rounds = Rounds(keys, [tree], support)
    judged = rule.judge(Proposal(tree), support, rounds.draws(0))
    last = judged.path[-1] + 1 if judged.path else 0
    assert judged.extra_log_weights.tolist() == support.log_probs[last].tolist()  # the extra is the target's, always
    return judged.path


def chain(tokens: Sequence[int], joint: Sequence[float]) -> TokenTree:
    return TokenTree(np.array(tokens), np.arange(-1, len(tokens) - 1), np.array(joint, float))


def targets(*probs: float) -> list[Distribution]:
    """Distributions that give the drafted token 1 the probability asked for, and the rest to token 2."""
    return [{token: prob for token, prob in ((1, p), (2, 1 - p)) if prob > 0} for p in (*probs, 0.5)]


def joint_of(*probs: float) -> list[float]:
    return np.cumsum(np.log(probs)).tolist()


def test_a_prefix_may_fail_at_depth_2_and_pass_at_depth_4() -> None:
    tree = chain([1] * 4, joint_of(0.5, 0.8, 0.5, 0.5))
    # Ratios by depth: 1, 0.25, 0.5, 1.
    assert judged_path(JointSequence(0.6), tree, targets(0.5, 0.2, 1.0, 1.0)) == (0, 1, 2, 3)
    # Ratios by depth: 1, 0.25, 0.25, 0.25: only the first passes.
    assert judged_path(JointSequence(0.6), tree, targets(0.5, 0.2, 0.5, 0.5)) == (0,)


def test_the_threshold_itself_does_not_pass() -> None:
    tree = chain([1], joint_of(0.5))
    assert judged_path(JointSequence(0.5), tree, targets(0.25)) == ()
    assert judged_path(JointSequence(0.4999), tree, targets(0.25)) == (0,)


def test_a_token_the_target_never_says_fails_every_longer_prefix() -> None:
    tree = chain([1] * 4, joint_of(0.5, 0.01, 0.01, 0.01))
    assert judged_path(JointSequence(0.1), tree, targets(0.5, 0.0, 1.0, 1.0)) == (0,)


def test_minus_infinity_less_minus_infinity_is_a_refusal() -> None:
    assert judged_path(JointSequence(0.1), chain([1, 1], [math.log(0.5), NEVER]), targets(0.5, 0.0)) == (0,)
    assert judged_path(JointTree(0.1), chain([1, 1], [math.log(0.5), NEVER]), targets(0.5, 0.0)) == (0,)


def test_a_tree_is_not_judged_as_a_sequence() -> None:
    tree = TokenTree(np.array([1, 2]), np.array([-1, -1]), np.log([0.5, 0.3]))
    with pytest.raises(InvalidArgument, match="one sequence"):
        judged_path(JointSequence(0.5), tree, targets(0.5, 0.5))


def plain_mtad(tree: TokenTree, target: Sequence[Distribution], threshold: float) -> tuple[int, ...]:
    kept: tuple[int, ...] = ()
    joint = 1.0
    for depth, token in enumerate(tree.token_ids.tolist()):
        joint *= target[depth].get(token, 0.0)
        if min(1.0, joint / math.exp(tree.draft_joint_log_probs[depth])) > threshold:
            kept = tuple(range(depth + 1))
    return kept


def plain_mmtad(tree: TokenTree, target: Sequence[Distribution], threshold: float) -> tuple[int, ...]:
    tokens, parents = tree.token_ids.tolist(), tree.parents.tolist()
    paths: list[tuple[int, ...]] = []
    joint: list[float] = []
    for node, (token, parent) in enumerate(zip(tokens, parents, strict=True)):
        paths.append((*paths[parent], node) if parent >= 0 else (node,))
        joint.append((joint[parent] if parent >= 0 else 1.0) * target[parent + 1].get(token, 0.0))
    deepest = max(len(path) for path in paths)
    drafted = [math.exp(value) for value in tree.draft_joint_log_probs]
    best = max((path for path in paths if len(path) == deepest), key=lambda path: drafted[path[-1]])
    passing = [path for path in paths if joint[path[-1]] > threshold * drafted[best[len(path) - 1]]]
    if not passing:
        return ()
    depth = max(len(path) for path in passing)
    return max((path for path in passing if len(path) == depth), key=lambda path: joint[path[-1]])


def test_the_deepest_node_that_clears_the_best_beams_bar_is_kept_and_dead_ends_count() -> None:
    # Nodes 0 and 1 at depth 1; node 2 continues node 0, and node 1 is a dead end that the target prefers.
    tree = TokenTree(np.array([1, 2, 3]), np.array([-1, -1, 0]), np.log([0.5, 0.3, 0.2]))
    likes_the_dead_end = [{1: 0.1, 2: 0.9}, {3: 0.5, 4: 0.5}, {5: 1.0}, {5: 1.0}]
    assert judged_path(JointTree(0.5), tree, likes_the_dead_end) == (1,)
    likes_the_beam = [{1: 0.4, 2: 0.6}, {3: 0.5, 4: 0.5}, {5: 1.0}, {5: 1.0}]
    assert judged_path(JointTree(0.5), tree, likes_the_beam) == (0, 2)
    likes_nothing = [{1: 0.1, 2: 0.1, 7: 0.8}, {3: 0.1, 4: 0.9}, {5: 1.0}, {5: 1.0}]
    assert judged_path(JointTree(0.5), tree, likes_nothing) == ()


@pytest.mark.parametrize("name", ["mtad", "mmtad"])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
def test_whole_rounds_agree_with_the_rules_written_as_loops(name: str, temperature: float) -> None:
    tables = random_tables(seed=4, closeness=0.5)
    sampling = Sampling(temperature, top_k=5, top_p=0.9)
    # At temperature 0 the joint rules read the softmax that is not sharpened.
    table = warped_table(tables[0], Sampling(temperature or 1.0, 5, 0.9))
    draft_table = warped_table(tables[1], Sampling(temperature or 1.0, 5, 0.9))
    plain = plain_mtad if name == "mtad" else plain_mmtad
    num_skipping = num_rounds = 0
    for threshold in (0.1, 0.5, 0.9):
        decodings = [decoding_of(sampling, Speculation(name, 4, 3, threshold), seed, trace=True) for seed in range(60)]
        for rounds in decode_rounds(tables, (3, 5), 12, decodings):
            text = [3, 5]
            for proposal, outcome in rounds:
                assert proposal is not None
                tree = proposal.tree
                target = [table[text[-2], text[-1]]]
                draft = [draft_table[text[-2], text[-1]]]
                for node in range(len(tree.token_ids)):
                    tail = [*text, *tree.token_ids[list(tree.path(node))].tolist()][-2:]
                    target.append(table[tail[0], tail[1]])
                    draft.append(draft_table[tail[0], tail[1]])
                joint = [1.0] * (len(tree.token_ids) + 1)
                for node, (token, parent) in enumerate(
                    zip(tree.token_ids.tolist(), tree.parents.tolist(), strict=True)
                ):
                    joint[node + 1] = joint[parent + 1] * draft[parent + 1][token]
                assert np.exp(tree.draft_joint_log_probs) == pytest.approx(joint[1:])
                path = plain(tree, target, threshold)
                accepted = tree.token_ids[list(path)].tolist() if path else []
                assert list(outcome.token_ids[:-1]) == accepted
                assert outcome.num_accepted == len(path)
                after = target[path[-1] + 1 if path else 0]
                assert outcome.token_ids[-1] in after
                if temperature == 0:
                    assert outcome.token_ids[-1] == max(sorted(after), key=lambda token: after[token])
                num_rounds += 1
                num_skipping += fails_then_passes(outcome, threshold)
                text += outcome.token_ids
    assert num_rounds > 300
    if name == "mtad" and temperature > 0:
        assert num_skipping > 0  # the longest prefix, not the first failure: it did happen


def fails_then_passes(outcome: Outcome, threshold: float) -> bool:
    trace = outcome.trace
    assert trace is not None
    passing = [
        target - draft > math.log(threshold)
        for target, draft in zip(trace.target_joint_log_probs, trace.draft_joint_log_probs, strict=True)
    ]
    return not all(passing[: outcome.num_accepted])


def test_every_accepted_prefix_is_likelier_than_threshold_times_its_draft() -> None:
    tables = random_tables(seed=9, closeness=0.4)
    decodings = [
        decoding_of(
            Sampling(1.0, 6, 0.95),
            Speculation("mtad", 1 + seed % 6, 1 + seed % 4, (1 + seed % 9) / 10),
            seed,
            trace=True,
        )
        for seed in range(400)
    ]
    num_accepting = 0
    for decoding, rounds in zip(decodings, decode_rounds(tables, (1, 2), 20, decodings), strict=True):
        for _, outcome in rounds:
            if outcome.num_accepted:
                target, draft = at_the_accepted(outcome.trace, outcome.num_accepted)
                assert target > draft + math.log(decoding.speculation.threshold)
                num_accepting += 1
    assert num_accepting > 1000


def at_the_accepted(trace: RoundTrace | None, num_accepted: int) -> tuple[float, float]:
    assert trace is not None
    return trace.target_joint_log_probs[num_accepted - 1], trace.draft_joint_log_probs[num_accepted - 1]


@pytest.mark.parametrize("temperature", [1.0, 0.0])
@pytest.mark.parametrize("name", ["speculative", "block", "coupled", "mtad", "mmtad", "specinfer"])
def test_a_draft_that_is_the_target_is_accepted_whole(name: str, temperature: float) -> None:
    target, _ = random_tables(seed=2)
    decodings = [
        decoding_of(Sampling(temperature, 4, 0.95), Speculation(name, 4, 1 if name == "specinfer" else 3), seed)
        for seed in range(60)
    ]
    for rounds in decode_rounds((target, target), (3, 5), 20, decodings):
        assert [outcome.num_accepted for _, outcome in rounds] == [4] * len(rounds)


def test_greedy_joint_decoding_is_beam_search_and_argmax() -> None:
    target, _ = random_tables(seed=2)
    decodings = [decoding_of(Sampling(0.0, 4, 1.0), Speculation("mtad", 2, 8), seed) for seed in range(3)]
    texts = [
        tuple(token for _, outcome in rounds for token in outcome.token_ids)
        for rounds in decode_rounds((target, target), (3, 5), 9, decodings)
    ]
    assert len(set(texts)) == 1  # no seed matters
    text = [3, 5]
    warp = Sampling(1.0, 4, 1.0)
    while len(text) < 2 + 9:
        first = plain_warp(target[text[-2], text[-1]].tolist(), warp)
        pairs = {
            (a, b): first[a] * prob for a in first for b, prob in plain_warp(target[text[-1], a].tolist(), warp).items()
        }
        text += max(pairs, key=lambda pair: pairs[pair])
        after = plain_warp(target[text[-2], text[-1]].tolist(), warp)
        text.append(max(after, key=lambda token: after[token]))
    assert tuple(text[2:]) == texts[0]
