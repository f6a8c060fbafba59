"""Both model services, on counters turned by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from draft_service.drafter import Limits as DraftLimits
from draft_service.service import DraftService
from tandem.energy.meter import EnergyMeter
from tests.draft_service.test_leases import leasing
from tests.support.energy import BurningModel, HandCounter
from tests.support.judging import draft, judging
from tests.support.model_services import DRAFT, PROMPT, TARGET, Running, decoding, hosted, running, verify_replica
from verify_service.service import VerifyService
from verify_service.sessions import Limits as VerifyLimits

MTAD = decoding("mtad")
TOTAL, CHARGED = "energy_joules_total", "request_energy_joules_total"


def measured_verify(counter: HandCounter, registry: CollectorRegistry) -> VerifyService:
    model = replace(hosted(TARGET, BurningModel(TARGET, counter)), meter=EnergyMeter(counter))
    return VerifyService(lambda: model, "digest", VerifyLimits(), registry)


def measured_draft(counter: HandCounter, registry: CollectorRegistry) -> DraftService:
    model = replace(hosted(DRAFT, BurningModel(DRAFT, counter)), meter=EnergyMeter(counter))
    return DraftService(lambda: model, "digest", DraftLimits(), registry)


async def at_rest(replica: Running) -> None:
    async with asyncio.timeout(10):
        while replica.metric("num_requests_running"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)  # the pass in which it was counted ends


async def test_a_verdict_tells_its_energy_and_what_its_proposal_said() -> None:
    counter, registry = HandCounter(), CollectorRegistry()
    async with running(measured_verify(counter, registry), registry) as replica, judging(replica) as client:
        paid = 0.0
        for session_id in ("one", "two"):
            proposal = draft(PROMPT, MTAD)
            await client.open(PROMPT, MTAD, session_id=session_id)
            await client.opened()
            await client.ask(PROMPT, replace(proposal, draft_joules=2.5), session_id=session_id)
            outcome = (await client.verdict()).outcome
            assert outcome.draft_joules == 2.5
            assert outcome.verify_joules == 0.25 * (len(PROMPT) + len(proposal.tree.token_ids))
            # Asked again, it is the same answer, and costs nothing.
            await client.ask(PROMPT, replace(proposal, draft_joules=9.0), session_id=session_id)
            again = await client.verdict()
            assert again.repeated_answer
            assert again.outcome == outcome
            paid += outcome.verify_joules
            await client.close(session_id=session_id)
            await at_rest(replica)
            counter.count += 100
        assert replica.metric(TOTAL, source="rapl") == counter.count == 200 + paid
        assert replica.metric(CHARGED) == paid


async def test_an_outcome_has_both_roles_energy_and_rest_is_nobodys() -> None:
    draft_counter, verify_counter = HandCounter(), HandCounter()
    draft_registry, verify_registry = CollectorRegistry(), CollectorRegistry()
    async with (
        running(measured_verify(verify_counter, verify_registry), verify_registry) as verify,
        running(measured_draft(draft_counter, draft_registry), draft_registry) as drafting,
        leasing(drafting) as client,
    ):
        paid = 0.0
        for session_id in ("one", "two"):
            await client.grant(verify.address, session_id=session_id)
            while (done := await client.outcome()).name.session_id != session_id:
                pass
            outcome = done.outcome
            assert outcome.draft_joules > 0
            assert outcome.verify_joules > 0
            await client.release(session_id=session_id)
            await at_rest(drafting)
            assert drafting.metric(TOTAL, source="rapl") == draft_counter.count
            paid += outcome.draft_joules
            draft_counter.count += 100
        assert paid <= drafting.metric(CHARGED) == pytest.approx(draft_counter.count - 200)


async def test_a_service_without_a_counter_says_nothing() -> None:
    async with verify_replica() as replica, judging(replica) as client:
        await client.open(PROMPT, MTAD)
        await client.opened()
        await client.ask(PROMPT, draft(PROMPT, MTAD))
        outcome = (await client.verdict()).outcome
        assert not outcome.HasField("draft_joules")
        assert not outcome.HasField("verify_joules")
        for name, labels in ((TOTAL, {"source": "rapl"}), (TOTAL, {"source": "nvml"}), (CHARGED, {})):
            assert replica.registry.get_sample_value(f"tandem:{name}", labels) is None
