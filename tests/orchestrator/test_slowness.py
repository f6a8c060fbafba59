"""Which replicas are found slow, by figures that are made up: the clock is the test's."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.discovery.static import Static
from orchestrator.links import Link
from orchestrator.metrics import Metrics
from orchestrator.placement import Placement
from orchestrator.replicas import DraftLink, VerifyLink
from orchestrator.slowness import Slowness, load
from tandem.decoding.values import Decoding, Outcome, Sampling, Speculation, StageTimings
from tandem.tokenization import Tokenizer
from tests.support.replicas import describe

PAUSE = 10.0


class Fleet:
    """Replicas that nobody connects to, each with a pass time, and rounds that are told of them."""

    def __init__(self, tokenizer: Tokenizer, num_verify: int = 2, num_draft: int = 2, factor: float = 3.0) -> None:
        self.registry = CollectorRegistry()
        verify = [f"127.0.0.1:{1 + number}" for number in range(num_verify)]
        draft = [f"127.0.0.1:{101 + number}" for number in range(num_draft)]
        self.placement = Placement(tokenizer, Static(()), Static(()))
        self.verify, self.draft = self.placement.verify_links, self.placement.draft_links
        self.verify += [VerifyLink(address, tokenizer, self.placement.wake) for address in verify]
        self.draft += [DraftLink(address, tokenizer, self.placement.wake) for address in draft]
        for link in self.links:
            link.state, link.description = "accepted", describe(link.role, tokenizer.digest)
        self.slowness = Slowness(self.placement, Metrics(self.registry), factor, PAUSE)
        self.now = time.monotonic()
        self.seconds: dict[Link, float] = dict.fromkeys(self.verify, 0.02) | dict.fromkeys(self.draft, 0.004)
        self.transit: dict[Link, float] = {}
        self._tiny: Iterator[int] = itertools.count(1)

    @property
    def links(self) -> Sequence[Link]:
        return (*self.verify, *self.draft)

    def outcome(self, verify: Link, draft: Link | None = None, depth: int = 4) -> Outcome:
        """A round that stood alone in its passes."""
        different = 1e-9 * next(self._tiny)
        forward = self.seconds[verify] + different
        if draft is None:
            return Outcome((1,), 0, 0, (-1.0,), timings=StageTimings(forward_seconds=forward))
        drafting = self.seconds[draft] * depth + different
        round_trip = forward + 0.001 + self.transit.get(verify, 0.0) + self.transit.get(draft, 0.0)
        timings = StageTimings(drafting, 0.0, forward, 0.0, round_trip)
        return Outcome((1,), 0, depth, (-1.0,), timings=timings)

    def run(self, pairs: Sequence[tuple[Link, Link]] | None = None, num_rounds: int = 12, seconds: float = 3.0) -> None:
        """Rounds on each pair, by turns, over some seconds."""
        pairs = pairs or list(zip(self.verify, self.draft, strict=True))
        for _ in range(num_rounds):
            for verify, draft in pairs:
                self.slowness.note((verify, draft), self.outcome(verify, draft), self.now, begins=False)
            self.now += seconds / num_rounds

    @property
    def ejected(self) -> list[Link]:
        return [link for link in self.links if link.speed.is_ejected(self.now)]

    def num_ejections(self, role: str) -> float:
        return self.registry.get_sample_value("tandem:replica_ejections_total", {"role": role}) or 0.0


@pytest.fixture
def fleet(tokenizer: Tokenizer) -> Fleet:
    return Fleet(tokenizer)


@pytest.mark.parametrize("role", ["verify", "draft"])
def test_a_replica_ten_times_as_slow_is_ejected_and_no_other(fleet: Fleet, role: str) -> None:
    slow = getattr(fleet, role)[1]
    fleet.run()
    assert not fleet.ejected
    fleet.seconds[slow] *= 10
    fleet.run()
    assert fleet.ejected == [slow]
    assert fleet.num_ejections(role) == 1
    assert fleet.registry.get_sample_value("tandem:replicas_ejected", {"role": role}) == 1


def test_pairs_that_change_tell_the_same(fleet: Fleet) -> None:
    pairs = list(itertools.product(fleet.verify, fleet.draft))
    fleet.seconds[fleet.verify[0]] *= 10
    fleet.run(pairs)
    assert fleet.ejected == [fleet.verify[0]]


def test_where_all_are_slow_none_is_ejected(fleet: Fleet) -> None:
    fleet.run()
    for link in fleet.links:
        fleet.seconds[link] *= 10
    fleet.run()
    assert not fleet.ejected


def test_the_last_one_is_never_ejected(fleet: Fleet) -> None:
    fleet.seconds[fleet.verify[0]] *= 10
    fleet.run()
    fleet.seconds[fleet.verify[1]] *= 100
    fleet.run(num_rounds=30)
    assert fleet.ejected == [fleet.verify[0]]


def test_half_of_many_at_most(tokenizer: Tokenizer) -> None:
    fleet = Fleet(tokenizer, num_verify=5, num_draft=5)
    for number, link in enumerate(fleet.verify[:4]):
        fleet.run(seconds=2.0)
        fleet.seconds[link] *= 10 * 10**number
    fleet.run(seconds=2.0)
    assert fleet.ejected == fleet.verify[:2]


def test_one_alone_has_nobody_to_be_compared_with(tokenizer: Tokenizer) -> None:
    fleet = Fleet(tokenizer, num_verify=1, num_draft=1)
    fleet.run()
    fleet.seconds = dict.fromkeys(fleet.links, 5.0)
    fleet.run()
    assert not fleet.ejected


def test_another_model_may_take_its_time(fleet: Fleet, tokenizer: Tokenizer) -> None:
    large = fleet.verify[1]
    large.description = describe("verify", tokenizer.digest, weights_digest="another")
    fleet.seconds[large] *= 10
    fleet.run()
    assert not fleet.ejected


def test_a_replica_with_more_to_read_may_take_longer_in_proportion(fleet: Fleet) -> None:
    busy, idle = fleet.verify
    busy.load, idle.load = 300, 30
    fleet.seconds[busy] *= 10
    fleet.run()
    assert not fleet.ejected
    fleet.seconds[busy] *= 10
    fleet.run()
    assert fleet.ejected == [busy]


def test_milliseconds_are_nothing(fleet: Fleet) -> None:
    fleet.seconds = dict.fromkeys(fleet.verify, 0.001) | dict.fromkeys(fleet.draft, 0.0005)
    fleet.seconds[fleet.verify[0]] = 0.01
    fleet.run()
    assert not fleet.ejected


def test_a_moment_is_nothing(fleet: Fleet) -> None:
    fleet.run()
    fleet.seconds[fleet.verify[0]] *= 50
    fleet.run(seconds=0.9)
    fleet.seconds[fleet.verify[0]] /= 50
    fleet.run()
    assert not fleet.ejected


def test_many_sessions_of_one_long_pass_are_one_witness(fleet: Fleet) -> None:
    fleet.run()
    verify, draft = fleet.verify[0], fleet.draft[0]
    for _ in range(4):
        passed = fleet.outcome(verify, draft)
        slow = StageTimings(passed.timings.draft_seconds, 0.0, 4.0, 0.0, 4.001)
        for _ in range(16):
            outcome = Outcome((1,), 0, 4, (-1.0,), timings=slow)
            fleet.slowness.note((verify, draft), outcome, fleet.now, begins=False)
        fleet.now += 4.0
    assert not fleet.ejected


def test_passes_in_which_a_text_is_read_are_none_to_go_by(fleet: Fleet) -> None:
    """Whoever began in them tells so: before or after the others that were in the same pass."""
    fleet.run()
    verify, draft = fleet.verify[0], fleet.draft[0]
    for turn in range(20):
        passed = fleet.outcome(verify, draft)
        drafting, forward = passed.timings.draft_seconds + 1.0, passed.timings.forward_seconds + 3.0
        outcome = Outcome((1,), 0, 4, (-1.0,), timings=StageTimings(drafting, 0.0, forward, 0.0, forward))
        for begins in (False, True, False) if turn % 2 else (True, False, False):
            fleet.slowness.note((verify, draft), outcome, fleet.now, begins=begins)
        fleet.now += 1.0
    assert not fleet.ejected


def test_a_text_drafted_beside_longer_ones_does_not_make_its_drafter_slow(fleet: Fleet) -> None:
    for _ in range(20):
        for draft, depths in zip(fleet.draft, ((1, 8), (8,)), strict=True):
            passed = fleet.outcome(fleet.verify[0], draft, depth=8)
            for depth in depths:
                outcome = Outcome((1,), 0, depth, (-1.0,), timings=passed.timings)
                fleet.slowness.note((fleet.verify[0], draft), outcome, fleet.now, begins=False)
        fleet.now += 0.2
    assert not fleet.ejected


def test_a_slow_drafter_is_not_its_verify_replicas_fault(fleet: Fleet) -> None:
    """Verdicts wait for its batches: the round trip is long, and no network is."""
    fleet.seconds[fleet.draft[0]] *= 10
    fleet.transit[fleet.draft[0]] = 0.9 * 4 * fleet.seconds[fleet.draft[0]]
    fleet.run(num_rounds=60)
    assert fleet.ejected == [fleet.draft[0]]
    assert not fleet.num_ejections("verify")


@pytest.mark.parametrize("pairs", ["fixed", "changing"])
def test_a_way_that_is_slow_is_left(fleet: Fleet, pairs: str) -> None:
    crossed = list(itertools.product(fleet.verify, fleet.draft)) if pairs == "changing" else None
    fleet.transit[fleet.verify[1]] = 0.2
    fleet.run(crossed)
    assert fleet.ejected == [fleet.verify[1]]


def test_a_way_that_is_slow_at_the_drafters_end_is_left_too(fleet: Fleet) -> None:
    fleet.transit[fleet.draft[1]] = 0.2
    fleet.run(list(itertools.product(fleet.verify, fleet.draft)))
    assert fleet.ejected == [fleet.draft[1]]


def test_it_is_tried_again_by_a_few_that_begin(fleet: Fleet) -> None:
    back, other = fleet.verify
    fleet.seconds[back] *= 10
    fleet.run()
    assert fleet.placement.verify_for(None) is other
    fleet.now += PAUSE
    assert not fleet.ejected
    assert not back.speed.is_out(fleet.now, 1, begins=True)
    assert back.speed.is_out(fleet.now, 2, begins=True)
    assert back.speed.is_out(fleet.now, 0, begins=False)
    fleet.seconds[back] /= 10
    fleet.run()
    assert not back.speed.is_out(fleet.now, 100, begins=False)


def test_each_time_again_it_is_left_alone_for_longer(fleet: Fleet) -> None:
    slow = fleet.draft[0]
    fleet.seconds[slow] *= 10
    pauses = []
    for _ in range(9):
        while not fleet.ejected:
            fleet.run(num_rounds=1, seconds=0.3)
        since = fleet.now
        while fleet.ejected:
            fleet.now += 0.5
        pauses.append(fleet.now - since)
    expected = [PAUSE * 2**times for times in range(6)] + [32 * PAUSE] * 3
    assert pauses == pytest.approx(expected, abs=1.0)


def test_and_after_a_good_while_for_no_longer_than_at_first(fleet: Fleet) -> None:
    slow = fleet.draft[0]
    for _ in range(3):
        fleet.seconds[slow] *= 10
        fleet.run()
        assert fleet.ejected == [slow]
        fleet.now += PAUSE
        assert not fleet.ejected
        fleet.seconds[slow] /= 10
        fleet.run(num_rounds=60, seconds=60.0)


def test_nothing_is_slow_where_it_is_turned_off(tokenizer: Tokenizer) -> None:
    fleet = Fleet(tokenizer, factor=0.0)
    fleet.seconds[fleet.verify[0]] *= 100
    fleet.run()
    assert not fleet.ejected


def test_sessions_leave_a_few_at_a_time(fleet: Fleet) -> None:
    link = fleet.draft[0]
    link.num_sessions = 100
    leaving = [str(number) for number in range(100) if fleet.slowness.may_leave(link, str(number))]
    assert len(leaving) == 25
    fleet.slowness.arrived(leaving[0])
    fleet.slowness.arrived(leaving[0])
    assert fleet.slowness.may_leave(link, "another")
    assert not fleet.slowness.may_leave(link, "and another")
    few = fleet.draft[1]
    few.num_sessions = 3
    assert all(fleet.slowness.may_leave(few, f"one of {number}") for number in range(3))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("autoregressive", 1), ("mtjd", 4), ("speculative", 6), ("coupled", 6), ("specinfer", 21), ("mmtad", 21)],
)
def test_what_a_round_reads(name: str, expected: int) -> None:
    decoding = Decoding(Sampling(), Speculation(name, 5, 4, 0.5), 20_000)
    assert load(decoding, 50) == expected
    assert load(decoding, 10_240) == expected + 10
