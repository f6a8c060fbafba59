"""A text's KV: what is fed again, what is kept, and who gives way when the pool is full."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tandem.decoding.values import Decoding, Outcome, Proposal, RunningDigest, Sampling, Speculation
from tandem.engine.proposer import DraftSequence, Proposer
from tandem.engine.text import TextSequence
from tandem.engine.verifier import Verifier
from tandem.errors import OutOfKV
from tests.support.decode import decode_rounds
from tests.support.tabular import TabularModel, TabularSequence, random_tables

TABLES = random_tables(seed=3)
METHODS_DRAFTED = ["speculative", "block", "coupled", "specinfer", "typical", "bild", "mtad", "mmtad"]


def decoding(method: str = "mtad", seed: int = 0, draft_length: int = 3, **rest: object) -> Decoding:
    return Decoding(Sampling(1.0, 4, 0.95, 0.0, seed), Speculation(method, draft_length, 3), 1 << 20, **rest)  # type: ignore[arg-type]


def held(text: TextSequence) -> list[int]:
    assert isinstance(text.cache, TabularSequence)
    return text.cache.settled


def outcome_of(results: Sequence[Outcome | Exception]) -> Outcome:
    (result,) = results
    assert isinstance(result, Outcome), result
    return result


def proposal_of(results: Sequence[Proposal | Exception]) -> Proposal:
    (result,) = results
    assert isinstance(result, Proposal), result
    return result


@pytest.mark.parametrize("method", METHODS_DRAFTED)
def test_a_round_feeds_only_what_is_new(method: str) -> None:
    target, draft = TabularModel(TABLES[0]), TabularModel(TABLES[1])
    verifier, proposer = Verifier(target), Proposer(draft)
    prompt = [3, 5, 1, 1, 2, 6, 7, 0]
    text, drafted = verifier.open(prompt, decoding(method)), proposer.open(prompt, decoding(method))
    pending = drafted_pending = len(prompt)
    for _ in range(12):
        before = draft.num_fed, target.num_fed
        proposal = proposal_of(proposer.propose([drafted]))
        # Every drafted layer but the last is read by the draft model; for mtad the tree is wider than what is proposed.
        fed = draft.num_fed - before[0] - drafted_pending
        if method != "mtad":
            assert fed == int((proposal.tree.depths < 3).sum())
        else:
            assert 2 <= fed <= 6
        outcome = outcome_of(verifier.judge([(text, proposal)]))
        assert target.num_fed - before[1] == pending + len(proposal.tree.token_ids)
        drafted.extend(outcome.token_ids)
        assert text.token_ids == drafted.token_ids
        # All KV that was computed for what became text is kept, that of the extra token too where it had been drafted.
        for followed, most in ((text, 1), (drafted, 2 if outcome.num_accepted == 3 else 1)):
            assert held(followed) == followed.token_ids[: len(held(followed))]
            assert 0 <= followed.position - followed.cached_position <= most
        pending, drafted_pending = (max(1, each.position - each.cached_position) for each in (text, drafted))


def test_extending_by_other_tokens_than_were_drafted_keeps_what_agrees() -> None:
    draft = TabularModel(TABLES[1])
    proposer = Proposer(draft)
    text = proposer.open([3, 5], decoding("speculative"))
    drafted = proposal_of(proposer.propose([text])).tree.token_ids.tolist()
    other = next(token for token in range(8) if token != drafted[1])
    text.extend([drafted[0], other, 4])
    assert held(text) == [3, 5, drafted[0]]
    before = draft.num_fed
    proposer.propose([text])
    assert draft.num_fed - before == 2 + 2  # the two unknown tokens, then two drafted layers


@pytest.mark.parametrize(
    ("new", "kept"),
    [
        ([3, 5, 1, 2, 1, 4], [3, 5, 1, 2]),  # diverges at the end
        ([3, 5, 1], [3, 5, 1]),  # is cut, so that its last token must be read again
        ([3, 5, 1, 2, 6], [3, 5, 1, 2, 6]),
        ([7, 5, 1, 2, 6, 6], []),
        ([3, 5, 1, 2, 6, 0, 0, 0], [3, 5, 1, 2, 6]),
    ],
)
@pytest.mark.parametrize("after_a_round", [False, True])
def test_another_text_keeps_the_kv_of_the_common_prefix(new: list[int], kept: list[int], after_a_round: bool) -> None:
    draft = TabularModel(TABLES[1])
    proposer = Proposer(draft)
    text = proposer.open([3, 5, 1, 2, 6, 0], decoding())
    proposer.propose([text])
    if not after_a_round:
        text.extend([])  # settles: the drafted tree is dropped before the text changes
    text.replace_text(new)
    # Tokens that were drafted and turn out to be text are kept besides.
    assert held(text) == new[: len(held(text))]
    assert len(held(text)) >= len(kept)
    assert text.digest == RunningDigest(new).value
    assert (text.position, text.token_ids) == (len(new), new)
    before = draft.num_fed
    again = proposal_of(proposer.propose([text]))
    fresh_model = TabularModel(TABLES[1])
    other = Proposer(fresh_model)
    alone = proposal_of(other.propose([other.open(new, decoding())]))
    assert again.digest == alone.digest
    assert draft.num_fed - before <= fresh_model.num_fed


def test_a_text_ends_at_a_generated_end_token_or_at_its_last_position() -> None:
    verifier = Verifier(TabularModel(TABLES[0]))
    ends = Decoding(Sampling(), Speculation(), max_position=6, eos_token_ids=(7,))
    text = verifier.open([7, 1], ends)
    assert not text.finished  # in a prompt it is a token like any other
    text.extend([1, 7, 2])
    assert text.finished
    text.replace_text([7, 1, 1])
    assert not text.finished
    text.extend([1, 1, 1])
    assert text.finished


def decoded_with(capacity: int | None, method: str, prompts: list[list[int]], num_rounds: int = 6) -> list[list[int]]:
    """Texts decoded round by round, one text at a time in turn, so that each must push others out."""
    target, draft = TabularModel(TABLES[0], capacity), TabularModel(TABLES[1], capacity)
    verifier, proposer = Verifier(target), Proposer(draft)
    texts = [verifier.open(prompt, decoding(method, seed)) for seed, prompt in enumerate(prompts)]
    drafts = [proposer.open(prompt, decoding(method, seed)) for seed, prompt in enumerate(prompts)]
    for _ in range(num_rounds):
        for text, drafted in zip(texts, drafts, strict=True):
            proposal = proposal_of(proposer.propose([drafted]))
            drafted.extend(outcome_of(verifier.judge([(text, proposal)])).token_ids)
            for model in (target, draft):
                assert capacity is None or model.num_held <= capacity
                model.check_integrity()
        both = list(proposer.propose(drafts))
        for drafted, outcome in zip(drafts, verifier.judge(list(zip(texts, both, strict=True))), strict=True):  # type: ignore[arg-type]
            assert isinstance(outcome, Outcome), outcome
            drafted.extend(outcome.token_ids)
    return [text.token_ids for text in texts]


@pytest.mark.parametrize("method", METHODS_DRAFTED)
def test_texts_are_the_same_however_little_kv_there_is(method: str) -> None:
    prompts = [[3, 5, 1], [2, 2], [6, 7, 0, 1, 4, 4, 4], [1]]
    unlimited = decoded_with(None, method, prompts)
    longest = max(len(text) for text in unlimited)
    # Room for about one text with its tree, and for about two.
    for capacity in (longest + 12, 2 * longest + 12):
        assert decoded_with(capacity, method, prompts) == unlimited


def test_a_text_that_can_never_fit_fails_alone() -> None:
    target, draft = TabularModel(TABLES[0], 40), TabularModel(TABLES[1], 40)
    verifier, proposer = Verifier(target), Proposer(draft)
    prompts = [[3, 5], [1] * 60, [2, 2]]
    texts = [verifier.open(prompt, decoding(seed=seed)) for seed, prompt in enumerate(prompts)]
    drafts = [proposer.open(prompt, decoding(seed=seed)) for seed, prompt in enumerate(prompts)]
    proposals = proposer.propose(drafts)
    outcomes = verifier.judge([(text, None) for text in texts])
    for results in (proposals, outcomes):
        assert [isinstance(result, OutOfKV) for result in results] == [False, True, False]
    assert texts[1].token_ids == [1] * 60
    alone = decode_rounds(TABLES, [3, 5], 1, [decoding(seed=0)])[0][0][0]
    assert alone is not None
    assert isinstance(proposals[0], Proposal)
    assert proposals[0].digest == alone.digest


def test_what_is_closed_makes_room_and_may_be_closed_again() -> None:
    model = TabularModel(TABLES[0], 30)
    verifier = Verifier(model)
    first = verifier.open([1] * 20, decoding())
    outcome_of(verifier.judge([(first, None)]))
    verifier.close(first)
    verifier.close(first)
    assert model.num_held == 0
    assert not model.open_sequences
    outcome_of(verifier.judge([(verifier.open([1] * 25, decoding()), None)]))


@pytest.mark.parametrize("length", [511, 512, 513, 1024, 1300])
def test_a_long_prompt_is_read_in_chunks_with_the_same_result(length: int) -> None:
    prompt = np.random.default_rng(0).integers(0, 8, length).tolist()
    model = RecordingModel(TABLES[0])
    verifier = Verifier(model)
    text, short = verifier.open(prompt, decoding()), verifier.open(prompt[-2:], decoding())
    first, _ = verifier.judge([(text, None), (short, None)])
    assert isinstance(first, Outcome)
    assert max(model.row_sizes) <= 512
    assert sum(model.row_sizes) == length + 2
    assert held(text) == prompt
    assert first.log_probs[0] == pytest.approx(log_prob(TABLES[0], prompt, first.token_ids[0]))


def log_prob(table: np.ndarray, text: Sequence[int], token: int) -> float:
    logits = table[text[-2], text[-1]]
    return float(logits[token] - np.logaddexp.reduce(logits))


class RecordingModel(TabularModel):
    """Notes how many tokens each row of each pass had."""

    def __init__(self, logits: np.ndarray) -> None:
        super().__init__(logits)
        self.row_sizes: list[int] = []

    def candidates(self, rows, width, num_top=0):  # type: ignore[no-untyped-def]
        self.row_sizes += [len(row.token_ids) for row in rows]
        return super().candidates(rows, width, num_top)


def test_drafting_again_for_the_same_text_drafts_the_same() -> None:
    proposer = Proposer(TabularModel(TABLES[1]))
    text: DraftSequence = proposer.open([3, 5, 1], decoding())
    first, second = (proposal_of(proposer.propose([text])) for _ in range(2))
    assert first.digest == second.digest
