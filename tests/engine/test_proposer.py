"""What is proposed: the shape of each method's tree, and that neighbours in a batch change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Proposal, Sampling, Speculation
from tandem.engine.proposer import Proposer
from tandem.errors import InvalidArgument, RowFailed
from tests.support.decode import decode_rounds, decoding_of
from tests.support.enumeration import warped_table
from tests.support.tabular import TabularModel, random_tables

TABLES = random_tables(seed=6, vocab_size=12)
SAMPLINGS = [
    Sampling(1.0, 4, 0.95),
    Sampling(0.0, 4, 0.95),
    Sampling(0.7, 0, 1.0),
    Sampling(1.3, 10, 0.9, 0.05),
    Sampling(0.5, 3, 1.0),
]
NAMES = list(METHODS)
DRAFTED = [name for name in NAMES if name not in ("autoregressive", "mtjd")]


def proposed(decoding: Decoding, prompt: list[int], table: np.ndarray = TABLES[1]) -> Proposal:
    proposer = Proposer(TabularModel(table))
    (proposal,) = proposer.propose([proposer.open(prompt, decoding)])
    assert isinstance(proposal, Proposal), proposal
    return proposal


def mixed(count: int) -> list[Decoding]:
    """Every method with every sampling, lengths and widths in turn."""
    return [
        decoding_of(
            SAMPLINGS[(index // len(NAMES)) % len(SAMPLINGS)],
            Speculation(NAMES[index % len(NAMES)], 1 + index % 5, 1 + index // 3 % 4, 0.3 + index % 4 / 10),
            index,
            trace=True,
        )
        for index in range(count)
    ]


def test_a_batch_decodes_to_the_bit_what_each_text_decodes_alone() -> None:
    decodings = mixed(80)
    together = decode_rounds(TABLES, (3, 5, 1), 10, decodings)
    for decoding, rounds in zip(decodings, together, strict=True):
        (alone,) = decode_rounds(TABLES, (3, 5, 1), 10, [decoding])
        assert len(rounds) == len(alone)
        for (proposal, outcome), (proposal_alone, outcome_alone) in zip(rounds, alone, strict=True):
            # A proposal's digest is of all its bits: tokens, joint log-probabilities, draft distributions.
            assert (proposal and proposal.digest) == (proposal_alone and proposal_alone.digest)
            assert (outcome.token_ids, outcome.log_probs) == (outcome_alone.token_ids, outcome_alone.log_probs)
            assert (outcome.next_digest, outcome.trace) == (outcome_alone.next_digest, outcome_alone.trace)


@pytest.mark.parametrize("name", DRAFTED)
def test_every_drafted_token_has_positive_probability_and_its_true_joint(name: str) -> None:
    for seed, sampling in enumerate(SAMPLINGS):
        unsharpened = name in ("mtad", "mmtad", "bild")
        read = (
            Sampling(1.0, *[sampling.top_k, sampling.top_p]) if unsharpened and not sampling.temperature else sampling
        )  # type: ignore[arg-type]
        table = warped_table(TABLES[1], read)
        proposal = proposed(decoding_of(sampling, Speculation(name, 4, 4), seed), [3, 5])
        tree = proposal.tree
        for node in range(len(tree.token_ids)):
            text, joint = [3, 5], 1.0
            for step in tree.path(node):
                token = int(tree.token_ids[step])
                joint *= table[text[-2], text[-1]][token]  # a KeyError is a token of probability zero
                text.append(token)
            assert np.exp(tree.draft_joint_log_probs[node]) == pytest.approx(joint)
        assert tree.depth == 4 or name == "bild"
        assert len(set(zip(tree.parents.tolist(), tree.token_ids.tolist(), strict=True))) == len(tree.token_ids)


@pytest.mark.parametrize("name", ["speculative", "block", "specinfer"])
def test_draft_distributions_are_those_that_were_drawn_from(name: str) -> None:
    sampling = Sampling(1.0, 4, 0.95)
    table = warped_table(TABLES[1], sampling)
    proposal = proposed(decoding_of(sampling, Speculation(name, 3, 3), 1), [3, 5])
    given = proposal.distributions
    assert given is not None
    assert sorted(given.nodes.tolist()) == sorted(set(proposal.tree.parents.tolist()))
    for node, ids, log_probs in zip(given.nodes.tolist(), given.ids, given.log_probs, strict=True):
        text = [3, 5, *proposal.tree.token_ids[list(proposal.tree.path(node))].astype(int).tolist()]
        found = {
            token: prob for token, prob in zip(ids.tolist(), np.exp(log_probs).tolist(), strict=True) if token >= 0
        }
        assert found == pytest.approx(table[text[-2], text[-1]])


def test_the_shapes_of_trees() -> None:
    wide = Sampling(1.0, 0, 1.0)

    def shape(name: str, length: int, width: int) -> list[int]:
        tree = proposed(decoding_of(wide, Speculation(name, length, width), 3), [3, 5]).tree
        return np.bincount(tree.depths)[1:].tolist()

    assert shape("speculative", 4, 3) == [1, 1, 1, 1]
    assert shape("coupled", 8, 3) == [1] * 8
    assert shape("mtad", 4, 3) == [1, 1, 1, 1]
    assert shape("mmtad", 4, 3) == [3, 3, 3, 3]
    assert shape("specinfer", 3, 5) == [5, 5, 5]


def test_fewer_beams_where_fewer_continuations_have_positive_probability() -> None:
    table = np.full((12, 12, 12), -np.inf)
    table[:, :, 4], table[:, :, 7] = 0.0, 1.0
    table[4, 4, :] = -np.inf
    table[4, 4, 2] = 0.0
    tree = proposed(decoding_of(Sampling(1.0, 0, 1.0), Speculation("mmtad", 3, 16), 0), [4, 4], table).tree
    assert np.bincount(tree.depths)[1:].tolist() == [1, 2, 4]
    assert tree.token_ids[0] == 2


def test_the_best_beam_is_what_mtad_proposes_of_mmtads_beams() -> None:
    for seed in range(30):
        sampling = Sampling(1.0, 5, 0.95)
        tree = proposed(decoding_of(sampling, Speculation("mmtad", 3, 4), seed), [3, 5]).tree
        best = proposed(decoding_of(sampling, Speculation("mtad", 3, 4), seed), [3, 5]).tree
        leaves = np.flatnonzero(tree.depths == 3)
        leaf = int(leaves[np.argmax(tree.draft_joint_log_probs[leaves])])
        assert best.token_ids.tolist() == tree.token_ids[list(tree.path(leaf))].tolist()
        assert best.draft_joint_log_probs.tolist() == tree.draft_joint_log_probs[list(tree.path(leaf))].tolist()


@pytest.mark.parametrize("name", DRAFTED)
def test_logits_that_are_not_numbers_fail_their_own_text_only(name: str) -> None:
    spoilt = TABLES[1].copy()
    spoilt[9, 9] = np.nan
    proposer = Proposer(TabularModel(spoilt))
    prompts = [[3, 5], [9, 9], [2, 2], [9, 9]]
    decodings = [decoding_of(Sampling(1.0, 4, 0.9), Speculation(name, 3, 3), seed) for seed in range(4)]
    texts = [proposer.open(prompt, decoding) for prompt, decoding in zip(prompts, decodings, strict=True)]
    results = proposer.propose(texts)
    assert [isinstance(result, RowFailed) for result in results] == [False, True, False, True]
    for index in (0, 2):
        found = results[index]
        assert isinstance(found, Proposal)
        # A tree may touch the spoilt context itself; these do not.
        assert found.digest == proposed(decodings[index], prompts[index]).digest
    texts[1].replace_text([3, 5])
    (mended,) = proposer.propose([texts[1]])
    assert isinstance(mended, Proposal)


def test_methods_without_a_drafter_are_refused() -> None:
    proposer = Proposer(TabularModel(TABLES[1]))
    for name in ("autoregressive", "mtjd"):
        with pytest.raises(InvalidArgument, match="speculative"):
            proposer.open([1], decoding_of(SAMPLINGS[0], Speculation(name), 0))
    with pytest.raises(InvalidArgument, match="unknown method"):
        proposer.open([1], decoding_of(SAMPLINGS[0], Speculation("nonesuch"), 0))
    assert proposer.propose([]) == []
