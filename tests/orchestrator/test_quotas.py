"""What each principal may use, counted by hand on a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.access import quotas as module
from orchestrator.access.principal import Allowance, Principal
from orchestrator.access.quotas import LimitReached, Quotas
from orchestrator.metrics import Metrics
from tandem.errors import InvalidArgument


class Counted:
    """Quotas, their clock and their metrics."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.time = SimpleNamespace(now=1000.0)
        self.quotas = Quotas(Metrics(self.registry), lambda: self.time.now)

    def refused(self, principal: Principal) -> float:
        """When a call that is refused may come back."""
        with pytest.raises(LimitReached) as caught:
            self.quotas.count_request(principal)
        return caught.value.retry_after_seconds

    def labels(self) -> set[str]:
        found = self.registry.collect()
        samples = [sample for family in found for sample in family.samples]
        return {sample.labels["principal"] for sample in samples if sample.name == "tandem:limited_calls_total"}


def alice(**allowance: int) -> Principal:
    return Principal("alice", Allowance(**allowance))


def test_calls_come_at_once_and_then_at_the_rate() -> None:
    counted, who = Counted(), alice(requests_per_minute=6)
    for _ in range(6):
        counted.quotas.count_request(who)
    assert counted.refused(who) == pytest.approx(10)
    counted.time.now += 4
    assert counted.refused(who) == pytest.approx(6)  # a refusal costs nothing
    counted.time.now += 6
    counted.quotas.count_request(who)
    assert counted.refused(who) == pytest.approx(10)
    counted.time.now += 3600  # however long the silence, a minute's worth
    for _ in range(6):
        counted.quotas.count_request(who)
    assert counted.refused(who) == pytest.approx(10)


def test_sessions_are_counted_while_they_last() -> None:
    counted, who = Counted(), alice(max_sessions=2)
    with counted.quotas.sessions(who, 1):
        with counted.quotas.sessions(who, 1), pytest.raises(LimitReached), counted.quotas.sessions(who, 1):
            pass
        counted.quotas.check_sessions(who, 1)
        with pytest.raises(InvalidArgument):
            counted.quotas.check_sessions(who, 3)
    counted.quotas.check_sessions(who, 2)


def test_who_is_at_rest_is_forgotten_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 10)
    counted, who, holder = Counted(), alice(requests_per_minute=1), Principal("holder", Allowance(max_sessions=1))
    with counted.quotas.sessions(holder, 1):
        for number in range(30):
            counted.quotas.count_request(Principal(f"old{number}", Allowance(requests_per_minute=1)))
            counted.time.now += 61
        counted.quotas.count_request(who)
        for number in range(30):
            counted.quotas.count_request(Principal(f"new{number}", Allowance(requests_per_minute=1)))
        assert counted.refused(who) > 0
        with pytest.raises(LimitReached):
            counted.quotas.check_sessions(holder, 1)
        assert len(counted.quotas._uses) < 40


def test_metrics_name_a_bounded_number_of_principals() -> None:
    counted = Counted()
    for number in range(200):
        who = Principal(f"p{number}", Allowance(requests_per_minute=1))
        counted.quotas.count_request(who)
        counted.refused(who)
    assert len(counted.labels()) == module.MAX_NAMED + 1
    assert counted.registry.get_sample_value(
        "tandem:limited_calls_total", {"principal": "other", "limit": "requests"}
    ) == (200 - module.MAX_NAMED)
