"""What is judged: outcomes, their log-probabilities, and that an error stays in its row."""

from __future__ import annotations

import numpy as np
import pytest

from tandem.decoding.methods import METHODS
from tandem.decoding.rng import DRAWING_VERSION
from tandem.decoding.values import Decoding, DraftDistributions, Outcome, Proposal, Sampling, Speculation, TokenTree
from tandem.engine.proposer import Proposer
from tandem.engine.verifier import Verifier
from tandem.errors import InvalidArgument, RowFailed
from tests.support.decode import decode_rounds, decoding_of
from tests.support.enumeration import goodness_of_fit, plain_warp, text_distribution, warped_table
from tests.support.tabular import TabularModel, random_tables

TABLES = random_tables(seed=8)
SAMPLING = Sampling(1.0, 4, 0.95)
NAMES = list(METHODS)


def decoding(
    name: str, seed: int = 0, sampling: Sampling = SAMPLING, draft_length: int = 3, **rest: object
) -> Decoding:
    return decoding_of(sampling, Speculation(name, draft_length, 3), seed, **rest)


def unwarped(text: list[int], token: int) -> float:
    logits = TABLES[0][text[-2], text[-1]]
    return float(logits[token] - np.logaddexp.reduce(logits))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_outcomes_tell_tokens_counts_log_probs_and_digests(name: str, temperature: float) -> None:
    decodings = [decoding(name, seed, Sampling(temperature, 4, 0.95), trace=True) for seed in range(40)]
    for rounds in decode_rounds(TABLES, (3, 5), 10, decodings):
        verifier = Verifier(TabularModel(TABLES[0]))
        text = [3, 5]
        for proposal, outcome in rounds:
            for token, log_prob in zip(outcome.token_ids, outcome.log_probs, strict=True):
                assert log_prob == pytest.approx(unwarped(text, token))
                text.append(token)
            assert outcome.next_digest == verifier.open(text, decodings[0]).digest
            if proposal is None:
                assert outcome.num_drafted == outcome.num_accepted == 0
                assert outcome.num_target_passes == len(outcome.token_ids) == (3 if name == "mtjd" else 1)
            else:
                assert outcome.num_target_passes == 1
                assert outcome.num_drafted == proposal.tree.depth <= 3
                assert outcome.num_drafted == 3 or name == "bild"
                assert outcome.num_accepted == len(outcome.token_ids) - 1
                assert outcome.proposal_digest == proposal.digest
                assert outcome.trace is not None
                assert outcome.trace.token_ids == tuple(proposal.tree.token_ids.tolist())


@pytest.mark.parametrize("name", ["autoregressive", "speculative", "block", "coupled", "specinfer", "typical"])
def test_greedy_lossless_methods_say_the_argmax(name: str) -> None:
    text = [3, 5]
    for _ in range(10):
        text.append(next(iter(plain_warp(TABLES[0][text[-2], text[-1]].tolist(), Sampling(0.0)))))
    greedy = Sampling(0.0, 4, 0.95)
    for rounds in decode_rounds(TABLES, (3, 5), 10, [decoding(name, seed, greedy) for seed in range(3)]):
        assert [token for _, outcome in rounds for token in outcome.token_ids][:10] == text[2:]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mtjd"])
def test_without_a_proposal_the_target_draws_one_token_of_its_own(name: str) -> None:
    verifier = Verifier(TabularModel(TABLES[0]))
    texts = [verifier.open([3, 5], decoding(name, seed)) for seed in range(4000)]
    outcomes = verifier.judge([(text, None) for text in texts])
    drawn = [outcome.token_ids for outcome in outcomes if isinstance(outcome, Outcome)]
    expected = text_distribution(warped_table(TABLES[0], SAMPLING), (3, 5), 1)
    assert len(drawn) == 4000
    assert goodness_of_fit(drawn, expected) > 1e-3


def test_mtjd_keeps_the_best_of_the_targets_own_beams() -> None:
    # The target drafting for itself is the draft model of mtad with the target's table.
    decodings = [decoding("mtjd", seed) for seed in range(30)]
    for seed, rounds in enumerate(decode_rounds(TABLES, (3, 5), 3, decodings)):
        proposer = Proposer(TabularModel(TABLES[0]))
        (proposal,) = proposer.propose([proposer.open([3, 5], decoding("mtad", seed))])
        assert isinstance(proposal, Proposal)
        assert rounds[0][1].token_ids == tuple(proposal.tree.token_ids.tolist())


def test_logits_that_are_not_numbers_fail_their_own_text_only() -> None:
    spoilt = TABLES[0].copy()
    spoilt[7, 7] = np.nan
    verifier, sound = Verifier(TabularModel(spoilt)), Verifier(TabularModel(TABLES[0]))
    proposer = Proposer(TabularModel(TABLES[1]))
    prompts = {name: ([7, 7] if index % 2 else [3, 5]) for index, name in enumerate(NAMES)}
    work, expected = [], []
    for seed, (name, prompt) in enumerate(prompts.items()):
        chosen = decoding(name, seed, draft_length=1)
        proposal = None
        if name not in ("autoregressive", "mtjd"):
            (found,) = proposer.propose([proposer.open(prompt, chosen)])
            assert isinstance(found, Proposal)
            proposal = found
        work.append((verifier.open(prompt, chosen), proposal))
        expected += sound.judge([(sound.open(prompt, chosen), proposal)])
    for (text, _), prompt, result, sound_result in zip(
        work, prompts.values(), verifier.judge(work), expected, strict=True
    ):
        if prompt == [7, 7]:
            assert isinstance(result, RowFailed)
            assert text.token_ids == [7, 7]
        else:
            assert isinstance(result, Outcome)
            assert isinstance(sound_result, Outcome)
            assert (result.token_ids, result.log_probs) == (sound_result.token_ids, sound_result.log_probs)


def chain(tokens: list[int]) -> TokenTree:
    return TokenTree(np.array(tokens), np.arange(-1, len(tokens) - 1), np.log(0.5) * np.arange(1, len(tokens) + 1))


BRANCHES = TokenTree(np.array([1, 2]), np.array([-1, -1]), np.log([0.5, 0.3]))
AT_THE_ROOT = DraftDistributions(np.array([-1]), np.array([[1, 2]]), np.log([[0.5, 0.5]]))
TWICE = DraftDistributions(np.array([-1, -1]), np.array([[1, 2], [1, 2]]), np.log(np.full((2, 2), 0.5)))


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("speculative", Proposal(chain([1, 2]))),
        ("block", Proposal(chain([1, 2]))),
        ("specinfer", Proposal(BRANCHES)),
        ("speculative", Proposal(chain([1, 2]), AT_THE_ROOT)),
        ("block", Proposal(chain([1, 2]), AT_THE_ROOT)),
        ("specinfer", Proposal(BRANCHES, TWICE)),
        ("speculative", Proposal(BRANCHES, AT_THE_ROOT)),
        ("block", Proposal(BRANCHES, AT_THE_ROOT)),
        ("mtad", Proposal(BRANCHES)),
        ("typical", Proposal(BRANCHES)),
        ("bild", Proposal(BRANCHES)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_proposal_that_lacks_what_its_method_judges_by_is_refused_alone(name: str, proposal: Proposal) -> None:
    verifier = Verifier(TabularModel(TABLES[0]))
    bad, good = verifier.open([3, 5], decoding(name)), verifier.open([3, 5], decoding("coupled"))
    refused, judged = verifier.judge([(bad, proposal), (good, None)])
    assert isinstance(refused, InvalidArgument)
    assert isinstance(judged, Outcome)
    assert bad.token_ids == [3, 5]
    (after,) = verifier.judge([(bad, None)])
    assert isinstance(after, Outcome)


def test_tokens_the_draft_claims_never_to_say_break_nothing() -> None:
    # A stranger's drafter: tokens outside its own distributions, and outside the target's support.
    lying = DraftDistributions(np.array([-1, 0]), np.array([[5, 6], [5, 6]]), np.log(np.full((2, 2), 0.5)))
    for name in ("speculative", "block", "specinfer"):
        verifier = Verifier(TabularModel(TABLES[0]))
        texts = [verifier.open([3, 5], decoding(name, seed)) for seed in range(50)]
        outcomes = verifier.judge(
            [(text, Proposal(chain([1 + text.decoding.sampling.seed % 4, 2]), lying)) for text in texts]
        )
        table = warped_table(TABLES[0], SAMPLING)
        for outcome in outcomes:
            assert isinstance(outcome, Outcome)
            text = [3, 5]
            for token in outcome.token_ids:
                assert token in table[text[-2], text[-1]]
                text.append(token)


def test_coupled_follows_any_tree_and_says_the_same() -> None:
    for seed in range(40):
        alone = decode_rounds(TABLES, (3, 5), 6, [decoding("autoregressive", seed)])[0]
        text = [outcome.token_ids[0] for _, outcome in alone]
        wrong = (text[1] + 1) % 8
        # A tree with a wrong branch drawn first, the right path under a second branch, and repeated siblings.
        tree = TokenTree(
            np.array([wrong, text[0], text[0], text[1], wrong, text[2]]),
            np.array([-1, -1, -1, 1, 1, 3]),
            np.zeros(6),
        )
        verifier = Verifier(TabularModel(TABLES[0]))
        (outcome,) = verifier.judge([(verifier.open([3, 5], decoding("coupled", seed)), Proposal(tree))])
        assert isinstance(outcome, Outcome)
        assert list(outcome.token_ids) == text[: len(outcome.token_ids)]
        assert outcome.num_accepted == (3 if wrong != text[0] else outcome.num_accepted)


def test_an_empty_batch_is_no_work() -> None:
    verifier = Verifier(TabularModel(TABLES[0]))
    assert verifier.judge([]) == []
    assert verifier.model.num_passes == 0  # type: ignore[attr-defined]


PINNED = {
    "autoregressive": [6, 4, 4, 7, 0, 4, 4, 2, 5, 1, 1, 4],
    "speculative": [5, 5, 2, 1, 1, 1, 4, 0, 4, 3, 4, 3],
    "block": [5, 5, 2, 1, 1, 1, 4, 0, 4, 3, 4, 3],
    "coupled": [6, 4, 4, 7, 0, 4, 4, 2, 5, 1, 1, 4],
    "specinfer": [5, 5, 2, 1, 1, 1, 4, 0, 4, 3, 4, 3],
    "typical": [1, 7, 1, 3, 7, 0, 4, 3, 7, 0, 4, 3],
    "bild": [1, 1, 1, 1, 3, 0, 0, 7, 1, 3, 5, 1],
    "mtjd": [7, 3, 3, 7, 0, 4, 4, 2, 3, 3, 7, 6],
    "mtad": [7, 7, 6, 5, 3, 4, 6, 0, 6, 6, 3, 2],
    "mmtad": [7, 7, 6, 5, 3, 4, 6, 1, 4, 0, 4, 1],
}


@pytest.mark.parametrize("name", NAMES)
def test_texts_of_drawing_version_1_are_pinned(name: str) -> None:
    # What a seed promises, end to end. Whoever changes these texts raises DRAWING_VERSION.
    assert DRAWING_VERSION == 1
    (rounds,) = decode_rounds(TABLES, (3, 5), 12, [decoding(name, 20240716)])
    assert [token for _, outcome in rounds for token in outcome.token_ids][:12] == PINNED[name]
