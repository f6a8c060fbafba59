"""Who pays: shares of real batched rounds, by the tokens that were read for each text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tandem.decoding.methods import METHODS
from tandem.decoding.values import Decoding, Outcome, Proposal, Sampling, Speculation
from tandem.energy.meter import EnergyMeter
from tandem.energy.metrics import EnergyMetrics
from tandem.engine.proposer import Proposer
from tandem.engine.verifier import Verifier
from tests.support.decode import decoding_of
from tests.support.energy import BurningModel, HandCounter
from tests.support.tabular import TabularModel, random_tables

TARGET, DRAFT = random_tables(seed=6, vocab_size=12)
SAMPLING = Sampling(1.0, 4, 0.95)
DRAFTED = [name for name, known in METHODS.items() if not known.target_only]
JOULES = 0.25
"""A token costs as much, whatever else is in its pass."""


def decodings(names: Sequence[str]) -> list[Decoding]:
    return [
        decoding_of(SAMPLING, Speculation(name, 1 + index % 5, 1 + index % 4), index)
        for index, name in enumerate(names)
    ]


def prompts(count: int) -> list[list[int]]:
    """Of very different lengths; some need chunks of prefill."""
    return [[1 + token % 11 for token in range(length)] for length in (2, 700, 40, 3, 1300, 9)[:count]]


def test_each_text_pays_for_the_tokens_that_were_read_for_it() -> None:
    counter = HandCounter()
    proposer = Proposer(BurningModel(DRAFT, counter, JOULES), EnergyMeter(counter))
    chosen = decodings(DRAFTED)
    texts = [proposer.open(prompt, decoding) for prompt, decoding in zip(prompts(6), chosen, strict=False)]
    together = proposer.propose(texts)
    for prompt, decoding, proposal in zip(prompts(6), chosen, together, strict=False):
        alone = TabularModel(DRAFT)
        by_itself = Proposer(alone)
        [same] = by_itself.propose([by_itself.open(prompt, decoding)])
        assert isinstance(proposal, Proposal)
        assert isinstance(same, Proposal)
        assert proposal.draft_joules == pytest.approx(JOULES * alone.num_fed)
        assert same.draft_joules is None
        assert proposal.digest == same.digest  # energy is no part of what a proposal is
    assert math.fsum(proposal.draft_joules for proposal in together) == pytest.approx(counter.count)  # type: ignore[union-attr,misc]


def test_shares_add_up_to_what_was_counted_while_there_was_work() -> None:
    draft_counter, verify_counter = HandCounter(), HandCounter()
    draft_meter, verify_meter = EnergyMeter(draft_counter), EnergyMeter(verify_counter)
    proposer = Proposer(BurningModel(DRAFT, draft_counter), draft_meter)
    verifier = Verifier(BurningModel(TARGET, verify_counter), verify_meter)
    chosen = decodings(list(METHODS))
    drafts = [
        None if METHODS[decoding.speculation.method].target_only else proposer.open([3, 5], decoding)
        for decoding in chosen
    ]
    targets = [verifier.open([3, 5], decoding) for decoding in chosen]
    paid_draft, paid_verify = 0.0, 0.0
    draft_counter.count += 1000  # before the first work: nobody's
    verify_counter.count += 1000
    for _ in range(5):
        proposals = iter(proposer.propose([draft for draft in drafts if draft is not None]))
        verify_counter.count += 7  # while the target waits
        work = [
            (target, None if draft is None else next(proposals)) for target, draft in zip(targets, drafts, strict=True)
        ]
        outcomes = verifier.judge(work)  # type: ignore[arg-type]
        draft_counter.count += 3  # while the draft waits
        for outcome, draft in zip(outcomes, drafts, strict=True):
            assert isinstance(outcome, Outcome)
            assert outcome.verify_joules is not None
            assert outcome.verify_joules > 0
            assert (outcome.draft_joules is None) == (draft is None)
            paid_draft += outcome.draft_joules or 0
            paid_verify += outcome.verify_joules
            if draft is not None:
                draft.extend(outcome.token_ids)
    assert paid_draft == pytest.approx(draft_counter.count - 1000 - 3)  # after the last pass nobody has paid yet
    # Before the target's first pass it had nothing to do; from then on waiting is paid for.
    assert paid_verify == pytest.approx(verify_counter.count - 1000 - 7)
    assert draft_meter.charged_joules() == pytest.approx(paid_draft)
    assert verify_meter.charged_joules() == pytest.approx(paid_verify)
    assert (draft_meter.total_joules(), verify_meter.total_joules()) == (draft_counter.count, verify_counter.count)


def test_nobody_pays_for_what_is_scored_between_rounds() -> None:
    counter = HandCounter()
    meter = EnergyMeter(counter)
    verifier = Verifier(BurningModel(TARGET, counter, JOULES), meter)
    scorer = verifier.scorer()
    [decoding] = decodings(["autoregressive"])
    sequence, text = verifier.open([3, 5], decoding), scorer.open([1 + token % 11 for token in range(41)], 0)
    for number in range(4):
        [outcome] = verifier.judge([(sequence, None)])
        assert isinstance(outcome, Outcome)
        assert outcome.verify_joules == JOULES * (1 if number else 2)
        assert scorer.advance([(text, 10)]) == [None]
    assert text.finished
    assert meter.charged_joules() == JOULES * (5 + 40)


def test_nobody_pays_for_rest() -> None:
    counter = HandCounter()
    meter = EnergyMeter(counter)
    proposer = Proposer(BurningModel(DRAFT, counter, JOULES), meter)
    [decoding] = decodings(["speculative"])
    paid = []
    for _ in range(3):
        text = proposer.open([3, 5], decoding)
        [proposal] = proposer.propose([text])
        assert isinstance(proposal, Proposal)
        paid.append(proposal.draft_joules)
        proposer.close(text)
        meter.rest()
        counter.count += 500
    assert paid == [JOULES * 2] * 3
    assert meter.total_joules() == 1500 + sum(paid)  # type: ignore[arg-type]
    assert meter.charged_joules() == sum(paid)  # type: ignore[arg-type]


def test_a_pass_costs_one_reading() -> None:
    counter = HandCounter()
    proposer = Proposer(BurningModel(DRAFT, counter), EnergyMeter(counter))
    text = proposer.open([3, 5], decodings(["mmtad", "mmtad"])[1])
    proposer.propose([text])
    before = counter.num_reads
    for number in range(1, 4):
        proposer.propose([text])
        assert counter.num_reads == before + number
    assert proposer.propose([]) == []
    assert counter.num_reads == before + 3


def test_a_counter_that_fails_ends_the_measuring_and_no_request() -> None:
    counter = HandCounter()
    meter, registry = EnergyMeter(counter), CollectorRegistry()
    EnergyMetrics(meter, registry)
    verifier = Verifier(BurningModel(TARGET, counter), meter)
    [decoding] = decodings(["autoregressive"])
    text = verifier.open([3, 5], decoding)

    def joules() -> float | None:
        [outcome] = verifier.judge([(text, None)])
        assert isinstance(outcome, Outcome)
        assert len(outcome.token_ids) == 1
        return outcome.verify_joules

    assert joules() == 0.5
    assert registry.get_sample_value("tandem:energy_joules_total", {"source": "rapl"}) == 0.5
    assert registry.get_sample_value("tandem:request_energy_joules_total") == 0.5
    with capture_logs() as lines:
        counter.broken = True
        assert [joules() for _ in range(3)] == [None] * 3
        counter.broken = False  # a figure with a hole in it is none: it stays off
        assert [joules() for _ in range(3)] == [None] * 3
        meter.rest()
        assert joules() is None
    assert [(line["log_level"], line["reason"]) for line in lines] == [("warning", "broken by hand")]
    assert registry.get_sample_value("tandem:energy_joules_total", {"source": "rapl"}) is None
    assert registry.get_sample_value("tandem:request_energy_joules_total") is None
