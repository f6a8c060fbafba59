"""Sessions while replicas come, terminate and vanish, as registrations in a real Redis tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchestrator.links import Link
from tandem.registration import Registry
from tests.orchestrator.conftest import SCRIPT, Served, Stage
from tests.support.replicas import Replica
from tests.support.waiting import until

WHOLE = (SCRIPT * 3)[:150]


class Fleet:
    """Scripted replicas, and what is registered of them."""

    def __init__(self, stage: Stage, registry: Registry) -> None:
        self._stage = stage
        self._registry = registry
        self.served: Served

    async def say(self, replica: Replica, standing: str) -> None:
        await self._registry.put(replica.role, replica.address, standing)

    async def forget(self, replica: Replica) -> None:
        """As if it had lapsed."""
        await self._registry._client.delete(f"tandem:{{replicas-{replica.role}}}:{replica.address}")

    async def new(self, role: str) -> Replica:
        replica: Replica = await (self._stage.verify() if role == "verify" else self._stage.draft())
        replica.round_seconds = 0.01
        await self.say(replica, "serving")
        return replica

    async def start(self) -> None:
        self.served = await self._stage.orchestrator(["redis:///verify"], ["redis:///draft"])

    def links(self, role: str) -> list[Link]:
        placement = self.served.service._placement
        return [*(placement.verify_links if role == "verify" else placement.draft_links)]

    def accepted(self, role: str) -> set[str]:
        return {link.address for link in self.links(role) if link.state == "accepted" and not link.is_leaving}


@pytest.fixture
async def fleet(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr("orchestrator.discovery.registered.LOOK_EVERY_SECONDS", 0.02)
    monkeypatch.setattr("orchestrator.discovery.registered.HOLD_SECONDS", 0.1)
    registry = Registry(stage.redis_url)
    await registry._client.flushdb()
    stage._ending.push_async_callback(registry.close)
    return Fleet(stage, registry)


async def test_replicas_that_come_later_are_used(fleet: Fleet) -> None:
    verify = await fleet.new("verify")
    await fleet.start()
    assert (await fleet.served.text()).token_ids == SCRIPT[:20]
    assert len(verify.opened) == 1  # alone: there was no drafter
    draft = await fleet.new("draft")
    await until(lambda: fleet.accepted("draft") == {draft.address})
    assert (await fleet.served.text()).token_ids == SCRIPT[:20]
    assert len(draft.opened) == 1


@pytest.mark.parametrize("role", ["verify", "draft"])
@pytest.mark.parametrize("end", ["terminates", "vanishes"])
async def test_sessions_leave_a_replica_that_ends_and_it_gets_no_new_ones(fleet: Fleet, role: str, end: str) -> None:
    first = {kind: await fleet.new(kind) for kind in ("verify", "draft")}
    await fleet.start()
    reading = asyncio.create_task(fleet.served.text(max_tokens=150))
    at_work = first["draft"]
    await until(lambda: at_work.num_rounds >= 3)
    other = await fleet.new(role)
    await until(lambda: other.address in fleet.accepted(role))
    leaving = first[role]
    await (fleet.say(leaving, "terminating") if end == "terminates" else fleet.forget(leaving))
    await until(lambda: [link.address for link in fleet.links(role)] == [other.address])
    assert not reading.done()  # it went on elsewhere before the replica had gone
    assert (await reading).token_ids == WHOLE
    assert fleet.served.metric("recoveries_total", cause="leaving") == 1
    assert fleet.served.metric("recoveries_total", cause="Unavailable") == 0
    begun = len(leaving.opened)
    assert (await fleet.served.text()).token_ids == SCRIPT[:20]
    assert len(leaving.opened) == begun


async def test_a_session_stays_to_its_end_where_no_other_replica_could_take_it(fleet: Fleet) -> None:
    verify = await fleet.new("verify")
    await fleet.start()
    reading = asyncio.create_task(fleet.served.text(max_tokens=60))
    await until(lambda: verify.num_rounds >= 3)
    await fleet.say(verify, "terminating")
    await until(lambda: not fleet.accepted("verify"))
    assert len(fleet.links("verify")) == 1
    assert (await reading).token_ids == WHOLE[:60]
    await until(lambda: not fleet.links("verify"))
    refused = await fleet.served.service.why_not_ready()
    assert "redis:///verify names none" in refused


async def test_a_replica_that_stays_after_all_keeps_its_sessions(fleet: Fleet) -> None:
    verify = await fleet.new("verify")
    await fleet.start()
    reading = asyncio.create_task(fleet.served.text(max_tokens=150))
    await until(lambda: verify.num_rounds >= 3)
    [link] = fleet.links("verify")
    await fleet.say(verify, "terminating")
    await until(lambda: link.is_leaving)
    await fleet.say(verify, "serving")
    await until(lambda: not link.is_leaving)
    assert (await reading).token_ids == WHOLE
    assert len(verify.opened) == 1
    assert fleet.links("verify") == [link]


async def test_a_replica_that_ends_its_side_is_let_go_and_known_again_when_it_is_back(fleet: Fleet) -> None:
    verify, other = await fleet.new("verify"), await fleet.new("verify")
    await fleet.start()
    reading = asyncio.create_task(fleet.served.text(max_tokens=60))
    working: Callable[[], list[Replica]] = lambda: [one for one in (verify, other) if one.num_rounds >= 3]  # noqa: E731
    await until(lambda: bool(working()))
    [leaving] = working()
    await fleet.say(leaving, "terminating")
    await leaving.stop()
    assert (await reading).token_ids == WHOLE[:60]
    await until(lambda: len(fleet.links("verify")) == 1)
    await leaving.restart()
    await fleet.say(leaving, "serving")
    await until(lambda: fleet.accepted("verify") == {verify.address, other.address})
