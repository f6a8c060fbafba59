"""Which replicas a session runs on: not where it failed or is slow, where its KV may be, where fewest others are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TypeVar, get_args

from prometheus_client import Gauge

from orchestrator.discovery.source import Source
from orchestrator.links import Link, State
from orchestrator.pool import Pool
from orchestrator.replicas import DraftLink, VerifyLink
from tandem.errors import ModelRefused
from tandem.pem_files import PemFiles
from tandem.requests import Limits
from tandem.tokenization import Tokenizer

AnyLink = TypeVar("AnyLink", bound=Link)

_NONE: Mapping[str, float] = MappingProxyType({})


class Placement:
    """The replicas this orchestrator knows. Owner of their pools."""

    def __init__(self, tokenizer: Tokenizer, verify: Source, draft: Source, tls: PemFiles | None = None) -> None:
        """``tls``: what is shown to the replicas, and whom of them to trust; None is plaintext."""
        self._changed = asyncio.Event()
        self._vocab_size = tokenizer.vocab_size
        self._verify = Pool(verify, lambda address, changed: VerifyLink(address, tokenizer, changed, tls), self.wake)
        self._draft = Pool(draft, lambda address, changed: DraftLink(address, tokenizer, changed, tls), self.wake)

    @property
    def verify_links(self) -> list[VerifyLink]:
        """To every verify replica that is known, those that leave included."""
        return self._verify.links

    @property
    def draft_links(self) -> list[DraftLink]:
        """To every draft replica that is known, those that leave included."""
        return self._draft.links

    @property
    def is_known(self) -> bool:
        """Whether it has been told which replicas there are, and each has said whether it can be used."""
        links = (*self.verify_links, *self.draft_links)
        told = self._verify.is_known and self._draft.is_known
        return told and all(link.state in ("accepted", "refused") for link in links)

    def why_not_known(self) -> list[str]:
        """What `is_known` waits for."""
        missing = [
            link for link in (*self.verify_links, *self.draft_links) if link.state not in ("accepted", "refused")
        ]
        reasons = [link.reason for link in missing]
        return [
            *reasons,
            *(why for pool in (self._verify, self._draft) if not pool.is_known for why in pool.why_none()),
        ]

    def start(self) -> None:
        """Starts following which replicas there are, and keeping a link up to each."""
        self._verify.start()
        self._draft.start()

    async def close(self) -> None:
        """Ends all links."""
        await asyncio.gather(self._verify.close(), self._draft.close())

    def count_in(self, replicas: Gauge) -> None:
        """Has a gauge with the labels role and state tell how many replicas there are of each."""
        pools: tuple[tuple[str, Callable[[], Sequence[Link]]], ...] = (
            ("verify", lambda: self.verify_links),
            ("draft", lambda: self.draft_links),
        )
        for role, links in pools:
            for state in (*get_args(State), "leaving"):
                replicas.labels(role, state).set_function(partial(_num_in, links, state))

    def verify_for(
        self, target: str | None, preferred: Collection[str] = (), avoided: Mapping[str, float] = _NONE
    ) -> VerifyLink | None:
        """An accepted verify replica; one that runs ``target`` (a digest of weights) where the session has begun.

        One to be avoided is taken all the same when there is no other: it may have recovered. ``avoided`` says when
        each has failed.
        """
        fitting = [link for link in accepted(self.verify_links) if target in (None, weights_digest(link))]
        return _best(fitting, preferred, avoided)

    def draft_for(
        self,
        preferred: Collection[str] = (),
        avoided: Mapping[str, float] = _NONE,
        refused: Collection[str] = (),
    ) -> DraftLink | None:
        """An accepted draft replica: none of those ``refused``, one of those ``avoided`` only for want of another."""
        fitting = [link for link in accepted(self.draft_links) if link.address not in refused]
        return _best(fitting, preferred, avoided)

    def draft_in_seconds(self, refused: Collection[str] = ()) -> float:
        """How much longer a draft replica, none of those ``refused``, may be back any moment."""
        links = [link for link in self.draft_links if link.address not in refused]
        return max((link.back_in_seconds for link in links), default=0.0)

    def check_drafting(self) -> None:
        """Raises `ModelRefused` when draft replicas answer, and every one of them is of a pair that does not match.

        A draft replica that is merely absent is no error: the target decodes alone.
        """
        refused = [link for link in self.draft_links if link.state == "refused"]
        if refused and not accepted(self.draft_links):
            raise ModelRefused(
                f"nothing can be drafted: {'; '.join(link.reason for link in refused)}. "
                "Methods without a draft model (autoregressive, mtjd) can still be used"
            )

    @property
    def refuses_verifying(self) -> bool:
        """Whether every verify replica answers, and none fits."""
        return bool(self.verify_links) and all(link.state == "refused" for link in self.verify_links)

    def check_verifying(self) -> None:
        """Raises `ModelRefused` when every verify replica answers, and none fits."""
        if self.refuses_verifying:
            raise ModelRefused("; ".join(link.reason for link in self.verify_links))

    def why_no_verify(self) -> str:
        """What to tell whoever waits for a verify replica."""
        reasons = [*self._verify.why_none(), *(_why_not(link) for link in self.verify_links if not _is_usable(link))]
        return "no verify replica can be used: " + ("; ".join(reasons) or "none of this session's target is left")

    def limits(self, *, drafted: bool) -> Limits:
        """Bounds of ids and lengths, by every replica that a request may come to run on; at least one must verify."""
        verify = [link.description for link in accepted(self.verify_links) if link.description is not None]
        draft = [link.description for link in accepted(self.draft_links) if link.description is not None]
        known = [*verify, *draft] if drafted else verify
        return Limits(
            vocab_size=min(self._vocab_size, *(found.vocab_size for found in known)),
            # A text longer than a whole KV pool never fits, however many others are evicted for it.
            max_positions=min(min(found.max_positions, found.num_kv_slots or found.max_positions) for found in known),
            eos_token_ids=verify[0].eos_token_ids,
        )

    async def wait(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Waits until ``condition`` holds, looking again whenever a replica comes or goes; whether it came to hold."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            return condition()
        return True

    def wake(self) -> None:
        """Has everybody who waits look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def accepted(links: Sequence[AnyLink]) -> list[AnyLink]:
    """Those of ``links`` that can be used now, for anything new."""
    return [link for link in links if _is_usable(link)]


def _num_in(links: Callable[[], Sequence[Link]], state: str) -> int:
    return sum(("leaving" if link.is_leaving else link.state) == state for link in links())


def _is_usable(link: Link) -> bool:
    return link.state == "accepted" and not link.is_leaving


def _why_not(link: Link) -> str:
    return f"{link.name} is leaving" if link.is_leaving else link.reason


def weights_digest(link: Link) -> str | None:
    """Digest of the weights that a replica runs."""
    return link.description.weights_digest if link.description else None


def _best(links: Sequence[AnyLink], preferred: Collection[str], avoided: Mapping[str, float]) -> AnyLink | None:
    now = time.monotonic()

    def rank(link: AnyLink) -> tuple[float, bool, bool, int]:
        failed_at = max(avoided.get(link.address, 0.0), link.doubted_at)
        is_out = link.speed.is_out(now, link.num_sessions, begins=not preferred)
        return failed_at, is_out, link.address not in preferred, link.num_sessions

    return min(links, key=rank, default=None)
