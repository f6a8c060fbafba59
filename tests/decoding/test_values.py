"""Values that exist can be served: bounds, digests, and the shape of token trees."""

from __future__ import annotations

import math
import struct
from hashlib import blake2b

import numpy as np
import pytest

from tandem.decoding.methods import METHODS, method
from tandem.decoding.values import (
    MAX_DRAFT_LENGTH,
    MAX_NODES,
    Decoding,
    DraftDistributions,
    Fence,
    Proposal,
    RunningDigest,
    Sampling,
    Speculation,
    TokenTree,
    perplexity,
    proposal_digest,
)
from tandem.errors import InvalidArgument


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"temperature": math.nan},
        {"temperature": 11},
        {"top_k": -1},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 2},
        {"seed": -1},
        {"seed": 1 << 64},
    ],
)
def test_a_sampling_out_of_bounds_is_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(bad))):
        Sampling(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"draft_length": 0},
        {"draft_length": 1000},
        {"beam_width": 0},
        {"beam_width": 17},
        {"threshold": 0},
        {"threshold": 2},
        {"threshold": 1.0},
        {"threshold": math.nan},
    ],
)
def test_a_speculation_out_of_bounds_is_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(bad))):
        Speculation(**bad)  # type: ignore[arg-type]


def test_values_at_the_bounds_are_served() -> None:
    Sampling(0, 0, 1, 0, 0)
    Sampling(10, 1_000_000, 1e-9, 1, (1 << 64) - 1)
    Speculation("mtad", MAX_DRAFT_LENGTH, 16, 0.999)
    Speculation("mtad", 1, 1, 0.001)


def test_an_unknown_method_is_answered_with_those_there_are() -> None:
    with pytest.raises(InvalidArgument, match="mtda") as refused:
        method("mtda")
    assert all(name in str(refused.value) for name in METHODS)


def test_the_running_digest_is_blake2b_of_little_endian_words() -> None:
    token_ids = [1, 70_000, 0, 151_935]
    digest = RunningDigest(token_ids)
    assert digest.value == blake2b(struct.pack("<4I", *token_ids), digest_size=16).digest()
    assert digest.value.hex() == "57916ba386a0660eda6965758c6ec5e5"
    assert RunningDigest().value == blake2b(digest_size=16).digest()


def test_a_digest_is_of_the_text_however_it_grew() -> None:
    digest = RunningDigest([5, 6])
    ahead = digest.peek([7, 8])
    assert digest.value == RunningDigest([5, 6]).value
    digest.extend([7])
    digest.extend([])
    assert digest.extend([8]) == ahead == RunningDigest([5, 6, 7, 8]).value
    assert RunningDigest([5, 6, 8, 7]).value != ahead


def tree(token_ids: list[int], parents: list[int], joint: list[float] | None = None) -> TokenTree:
    log_probs = np.zeros(len(token_ids)) if joint is None else np.array(joint)
    return TokenTree(np.array(token_ids, np.int64), np.array(parents, np.int64), log_probs)


def test_a_tree_knows_its_depths_and_paths() -> None:
    #      root -> 0 -> 2 -> 4
    #           -> 1 -> 3
    found = tree([9, 8, 7, 6, 5], [-1, -1, 0, 1, 2])
    assert found.depths.tolist() == [1, 1, 2, 2, 3]
    assert found.depth == 3
    assert found.path(4) == (0, 2, 4)
    assert found.path(3) == (1, 3)
    assert found.path(-1) == ()
    assert not found.is_chain
    assert tree([9, 8, 7], [-1, 0, 1]).is_chain
    empty = tree([], [])
    assert (empty.depth, empty.is_chain, empty.depths.tolist()) == (0, True, [])


@pytest.mark.parametrize(
    ("parents", "told"),
    [
        ([0], "before it"),
        ([-1, 2, -1], "before it"),
        ([-2], "before it"),
        ([-1, 0, -1], "order of depth"),
    ],
)
def test_a_tree_out_of_order_is_refused(parents: list[int], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        tree([1] * len(parents), parents)


def test_a_tree_that_is_too_large_too_deep_or_uneven_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="nodes"):
        tree([1] * (MAX_NODES + 1), [-1] * (MAX_NODES + 1))
    with pytest.raises(InvalidArgument, match="deep"):
        tree([1] * (MAX_DRAFT_LENGTH + 1), list(range(-1, MAX_DRAFT_LENGTH)))
    with pytest.raises(InvalidArgument, match="one of each"):
        tree([1, 2], [-1, -1], [0.0])
    with pytest.raises(InvalidArgument, match="not a number"):
        tree([1], [-1], [math.nan])
    assert tree([1] * MAX_DRAFT_LENGTH, list(range(-1, MAX_DRAFT_LENGTH - 1))).depth == MAX_DRAFT_LENGTH


def test_draft_distributions_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="as many"):
        DraftDistributions(np.array([-1]), np.zeros((1, 2), int), np.zeros((1, 3)))
    with pytest.raises(InvalidArgument, match="support"):
        DraftDistributions(np.array([-1]), np.zeros((1, 65), int), np.zeros((1, 65)))


def test_a_proposals_digest_names_all_that_judging_reads_and_nothing_else() -> None:
    text = RunningDigest([1, 2]).value
    chosen = tree([4, 5], [-1, 0], [-0.5, -1.0])
    given = DraftDistributions(np.array([-1]), np.array([[4, 6]]), np.log([[0.7, 0.3]]))
    base = proposal_digest(2, text, Proposal(chosen, given))
    assert base == proposal_digest(2, text, Proposal(chosen, given, draft_seconds=3.0, digest=b"x"))
    others = [
        proposal_digest(3, text, Proposal(chosen, given)),
        proposal_digest(2, RunningDigest([1, 3]).value, Proposal(chosen, given)),
        proposal_digest(2, text, Proposal(chosen)),
        proposal_digest(2, text, Proposal(tree([4, 5], [-1, -1], [-0.5, -1.0]), given)),
        proposal_digest(2, text, Proposal(tree([4, 5], [-1, 0], [-0.5, -1.1]), given)),
        proposal_digest(2, text, Proposal(tree([4, 6], [-1, 0], [-0.5, -1.0]), given)),
    ]
    assert len({base, *others}) == 7


def test_only_a_newer_epoch_or_the_same_owner_passes_a_fence() -> None:
    held = Fence(3, b"a")
    assert not held.refuses(Fence(3, b"a"))
    assert not held.refuses(Fence(4, b"b"))
    assert held.refuses(Fence(3, b"b"))
    assert held.refuses(Fence(2, b"a"))


def test_the_first_end_token_ends_a_text_unless_ignored() -> None:
    ends = Decoding(Sampling(), Speculation(), 100, eos_token_ids=(7, 9))
    assert ends.end_index([1, 9, 7]) == 1
    assert ends.end_index([1, 2]) is None
    assert Decoding(Sampling(), Speculation(), 100, (7, 9), ignore_eos=True).end_index([9]) is None


def test_perplexity_is_the_exponent_of_the_mean() -> None:
    assert perplexity(3 * math.log(2), 3) == pytest.approx(2)
    assert perplexity(0.0, 0) == 1.0
