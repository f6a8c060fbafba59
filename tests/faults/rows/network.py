"""Latency with jitter, connections cut, directions held back."""

from __future__ import annotations

import asyncio
import itertools
import time

from tests.faults.disturbance import disturbed
from tests.faults.figures import Figures, Row, Surroundings
from tests.faults.proxy import BadNetwork
from tests.faults.stage import Stage, staged, until

DELAY_SECONDS, JITTER_SECONDS = 0.02, 0.01
"""One way: 50 ms there and back, on the average."""

CUT_EVERY_SECONDS = 0.5
HELD_SECONDS = 1.5
ROUND_TIMEOUT = 0.5
"""Short, in seconds, so that a direction held back is past it."""

STALL_SECONDS = HELD_SECONDS + 2 * ROUND_TIMEOUT + 3.0


async def latency_and_cuts(given: Surroundings, num_trials: int) -> Figures:
    """Every hop is 50 ms long, and one connection after another is cut, of clients and between services."""
    async with (
        staged(given.zygote, given.folder, orchestrators=2, proxied=True, orchestrator={"session_ttl": 12}) as stage,
        disturbed(stage) as found,
    ):
        proxies = _proxies(stage)
        for proxy in proxies:
            proxy.network.delay_seconds, proxy.network.jitter_seconds = DELAY_SECONDS, JITTER_SECONDS
        for proxy in itertools.islice(itertools.cycle(proxies), num_trials):
            sessions = await found.under_way()
            since = time.monotonic()
            found.figures.trials += 1
            found.figures.took_effect += proxy.cut()
            await found.settle(sessions, since)
            await asyncio.sleep(max(0.0, since + CUT_EVERY_SECONDS - time.monotonic()))
        for proxy in proxies:
            proxy.network.delay_seconds = proxy.network.jitter_seconds = 0.0
    return found.figures


async def partition(given: Surroundings, num_trials: int) -> Figures:
    """What goes to a replica, what comes from it, or both are held back past a round's deadline, then delivered."""
    flags = {"round_timeout": ROUND_TIMEOUT, "lease_timeout": 1.0}
    async with (
        staged(given.zygote, given.folder, proxied=True, orchestrator=flags) as stage,
        disturbed(stage) as found,
    ):
        replicas = [member.proxy for member in (*stage.of("verify"), *stage.of("draft"))]
        turns = itertools.cycle(itertools.product(replicas, ((True, False), (False, True), (True, True))))
        for proxy, (requests, answers) in itertools.islice(turns, num_trials):
            assert proxy is not None
            sessions = await found.under_way()
            since = time.monotonic()
            proxy.network.holds_requests, proxy.network.holds_answers = requests, answers
            await asyncio.sleep(HELD_SECONDS)
            proxy.network.holds_requests = proxy.network.holds_answers = False
            found.figures.trials += 1
            found.figures.took_effect += bool(sessions)
            await found.settle(sessions, since)
    return found.figures


async def partition_of_a_pair(given: Surroundings, num_trials: int) -> Figures:
    """As `partition`, between one draft and one verify replica alone, for so long after the first piece was held."""
    flags = {"round_timeout": ROUND_TIMEOUT, "lease_timeout": 1.0}
    async with (
        staged(given.zygote, given.folder, proxied=True, orchestrator=flags) as stage,
        disturbed(stage) as found,
    ):
        directions = ((True, False), (False, True), (True, True))
        turns = itertools.cycle(itertools.product(stage.of("draft"), stage.of("verify"), directions))
        for draft, verify, (requests, answers) in itertools.islice(turns, num_trials):
            assert verify.proxy is not None
            network = verify.proxy.network
            await found.under_way()
            held = network.num_held
            network.held_pid = draft.pid
            network.holds_requests, network.holds_answers = requests, answers
            await until(lambda network=network, held=held: network.num_held > held, "the two have something to say")
            sessions, since = set(found.load.live), time.monotonic()
            await asyncio.sleep(HELD_SECONDS)
            network.holds_requests = network.holds_answers = False
            network.held_pid = None
            found.figures.trials += 1
            found.figures.took_effect += bool(sessions)
            await found.settle(sessions, since)
    return found.figures


def _proxies(stage: Stage) -> list[BadNetwork]:
    return [member.proxy for member in stage.members.values() if member.proxy is not None]


ROWS = (
    Row(
        name="network-bad",
        fault="50 ms latency with jitter on every hop, connections cut one after another",
        promise="0 wrong, 0 failed",
        run=latency_and_cuts,
        short=3,
        long=120,
    ),
    Row(
        name="network-partition",
        fault="partition between a replica and all others, one way and both, past the round deadline; then healed",
        promise="fenced, healed without duplicates",
        run=partition,
        short=3,
        long=30,
        longest_stall=STALL_SECONDS,
    ),
    Row(
        name="network-partition-pair",
        fault="partition between one draft and one verify replica alone, one way and both; then healed",
        promise="fenced, healed without duplicates; sessions go on with another pair",
        run=partition_of_a_pair,
        short=1,
        long=36,
        longest_stall=STALL_SECONDS,
    ),
)
