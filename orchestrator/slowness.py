"""Which replicas are slow: compared with their peers by what the outcomes of rounds tell, and left alone for a while.

Why these figures, and why a busy replica is not taken for a slow one: docs/decisions/0014-ejection-by-slowness.md.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from orchestrator.links import Link
from orchestrator.metrics import Metrics
from orchestrator.placement import Placement, accepted, weights_digest
from orchestrator.speed import Passes
from tandem.decoding.methods import method
from tandem.decoding.values import Decoding, Outcome
from tandem.telemetry import logger

LEAST_SECONDS = 1.0
"""For how long it must have been slow: longer than a handful of prompts being read."""

PASS_FLOOR_SECONDS, TRANSIT_FLOOR_SECONDS = 0.01, 0.02
"""What a pass, or a round's way, must take longer than those of the peers, whatever the proportion."""

LARGEST_SHARE = 0.5
"""Of the replicas that could take each other's place: so many may be left alone at once."""

FIXED_POSITIONS = 8
"""Reading so many positions takes a model no longer than reading one. With real models it is more."""

TOKENS_PER_POSITION = 1024
"""A text that is so much longer makes a pass no longer than another position does. With real models it is more, too."""

LEAST_MOVES, MOVED_SHARE = 4, 0.25
"""How many sessions may be on their way from one replica at once: so many, or that share of those it has."""


class Slowness:
    """Compares replicas, ejects slow ones, and paces the sessions that leave them. Belongs to the event loop."""

    def __init__(self, placement: Placement, metrics: Metrics, factor: float, pause_seconds: float) -> None:
        """``factor``: slow is what takes so many times as long as its peers; 0: nothing is. ``pause_seconds``: for how
        long a slow replica is left alone the first time.
        """
        self._placement = placement
        self._metrics = metrics
        self._factor = factor
        self._pause_seconds = pause_seconds
        self._moving: dict[str, set[str]] = {}  # address that is left -> sessions that are not at work elsewhere yet
        self._log = logger("orchestrator.slowness")
        metrics.ejected.labels("verify").set_function(lambda: _num_ejected(placement.verify_links, time.monotonic()))
        metrics.ejected.labels("draft").set_function(lambda: _num_ejected(placement.draft_links, time.monotonic()))

    def note(self, links: Sequence[Link], outcome: Outcome, now: float, *, begins: bool) -> None:
        """Takes in what an outcome tells of ``links``, which its session is on: a verify and perhaps a draft replica.

        ``begins``: it is the first since the session was placed there, so that its text was read anew.
        """
        timings = outcome.timings
        if not self._factor or not timings.forward_seconds:
            return
        verify, *drafts = links
        name = timings.forward_seconds
        judging = (name + timings.judge_seconds) / max(1, outcome.num_target_passes)
        self._note(verify, verify.speed.passes, now, name, judging, begins=begins)
        for draft in drafts if timings.draft_seconds else ():
            layer = timings.draft_seconds / max(1, outcome.num_drafted)
            self._note(draft, draft.speed.passes, now, timings.draft_seconds, layer, begins=begins)
            # The verdict may have waited for a batch of drafting, which is no fault of its way.
            drafting = max(timings.draft_seconds, draft.speed.passes.longest)
            known = timings.queue_seconds + name + timings.judge_seconds + drafting
            transit = max(0.0, timings.verify_round_trip_seconds - known)
            for link in links if not _num_ejected(links, now) else ():
                self._note(link, link.speed.transits, now, name, transit, begins=begins)

    def may_leave(self, link: Link, session_id: str) -> bool:
        """Whether a session may leave a slow replica now; if so it counts as on its way until it has `arrived`.

        The others have to read its text anew, and are not to be overrun.
        """
        moving = self._moving.setdefault(link.address, set())
        if len(moving) >= max(LEAST_MOVES, MOVED_SHARE * link.num_sessions):
            return False
        moving.add(session_id)
        return True

    def arrived(self, session_id: str) -> None:
        """The session is at work elsewhere, or is over. Safe to repeat."""
        for address, moving in list(self._moving.items()):
            moving.discard(session_id)
            if not moving:
                del self._moving[address]

    def _note(self, link: Link, passes: Passes, now: float, name: float, seconds: float, *, begins: bool) -> None:
        speed = link.speed
        if speed.is_ejected(now) or not passes.note(now, name, seconds, link.load, prefills=begins):
            return
        if not passes.tell_something(now):
            return
        by_transit = passes is speed.transits
        floor = TRANSIT_FLOOR_SECONDS if by_transit else PASS_FLOOR_SECONDS
        peers = self._peers(link) if passes.seconds > floor else []
        others = [peer.speed.transits if by_transit else peer.speed.passes for peer in peers]
        expected = [_expected(passes, other) for other in others if other.tell_something(now)]
        usual = statistics.median(expected) if expected else passes.seconds
        limit = max(self._factor * usual, usual + floor)
        if passes.seconds <= limit:
            passes.slow_since = None
            speed.end_probation(now)
        elif passes.slow_since is None:
            passes.slow_since = now
        elif now >= passes.slow_since + LEAST_SECONDS and passes.latest > limit:
            what = "time between draft and verify replica" if by_transit else "time of a pass"
            self._eject(link, peers, now, what, passes.seconds, usual)

    def _eject(self, link: Link, peers: Sequence[Link], now: float, what: str, seconds: float, usual: float) -> None:
        if 1 + _num_ejected(peers, now) > LARGEST_SHARE * (1 + len(peers)):
            return
        pause = link.speed.eject(now, self._pause_seconds)
        self._metrics.ejections.labels(link.role).inc()
        self._log.warning(
            "replica is slow; sessions go elsewhere",
            replica=link.address,
            replica_role=link.role,
            by=what,
            seconds=round(seconds, 6),
            expected_by_peers=round(usual, 6),
            pause_seconds=pause,
        )
        # Both ends of a way are suspected of it. With this one gone, the other may turn out well.
        for other in (*self._placement.verify_links, *self._placement.draft_links):
            other.speed.transits.clear()

    def _peers(self, link: Link) -> list[Link]:
        """Those that could take its place: of the same model."""
        links = self._placement.verify_links if link.role == "verify" else self._placement.draft_links
        digest = weights_digest(link)
        return [peer for peer in accepted(links) if peer is not link and weights_digest(peer) == digest]


def load(decoding: Decoding, num_tokens: int) -> int:
    """What a round has a model read at most, in positions, on a text of ``num_tokens``."""
    own = method(decoding.speculation.method).num_positions(decoding.speculation)
    return own + num_tokens // TOKENS_PER_POSITION


def _expected(passes: Passes, other: Passes) -> float:
    """How long passes may take by those of a peer: longer in proportion, where more is read in them."""
    more = (FIXED_POSITIONS + passes.load) / (FIXED_POSITIONS + other.load)
    return other.seconds * max(1.0, more)


def _num_ejected(links: Sequence[Link], now: float) -> int:
    return sum(link.speed.is_ejected(now) for link in links)
