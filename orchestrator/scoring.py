"""Given texts, passed to verify replicas to be scored: no session, no store, any replica will do."""

from __future__ import annotations

import time

from orchestrator.metrics import Metrics
from orchestrator.placement import Placement, accepted, weights_digest
from orchestrator.replicas import VerifyLink
from orchestrator.sessions import ANY_MODEL, Sessions
from tandem.decoding.values import TextScores, check_num_top
from tandem.errors import DeadlineExceeded, OutOfKV, Overloaded, TandemError, Unavailable
from tandem.generation import Score
from tandem.requests import check_scorable, checked_prompt
from tandem.rpc.status import code_of


class Scoring:
    """Has texts scored. Holds nothing between requests."""

    def __init__(self, sessions: Sessions, placement: Placement, metrics: Metrics) -> None:
        self._sessions = sessions
        self._placement = placement
        self._metrics = metrics

    async def score(
        self,
        prompt: str | tuple[int, ...],
        num_top: int,
        deadline: float | None = None,
        target: str | None = None,
    ) -> Score:
        """How probable a text is under the target, whose weights have the digest ``target`` where one is named.

        ``deadline`` is by `time.monotonic`.

        Raises:
            InvalidArgument: it cannot be scored. Unavailable: no verify replica, or this orchestrator is stopping.
            Overloaded, OutOfKV: no replica has room for it now. DeadlineExceeded. RowFailed: the model failed on it.
        """
        try:
            token_ids = await self.read(prompt, num_top)
            scores = (
                TextScores((), ()) if len(token_ids) == 1 else await self._ask(token_ids, num_top, deadline, target)
            )
        except TandemError as error:
            self._metrics.failures.labels(code_of(error).name).inc()
            raise
        self._metrics.scored_tokens.inc(len(scores.log_probs))
        return Score(token_ids, scores.log_probs, scores.ranks, scores.top_log_probs)

    async def read(self, prompt: str | tuple[int, ...], num_top: int = 0) -> tuple[int, ...]:
        """A text as the target reads it, once it can be scored.

        Raises:
            InvalidArgument: it cannot. Unavailable: no verify replica, or this orchestrator is stopping.
        """
        self._sessions.admission.check_open()
        check_num_top(num_top)
        if not isinstance(prompt, str):
            checked_prompt(prompt, ANY_MODEL)  # what no model could take is refused at once, whatever is alive
        limits = await self._sessions.limits(drafted=False)
        token_ids = checked_prompt(await self._sessions.tokens(prompt), limits)
        check_scorable(len(token_ids), num_top, limits)
        return token_ids

    async def _ask(
        self, token_ids: tuple[int, ...], num_top: int, deadline: float | None, target: str | None
    ) -> TextScores:
        """Asks the replica with the least to do, and the next one where that cannot now."""
        tried: set[str] = set()
        last: TandemError | None = None
        while (link := self._least_busy(target, tried)) is not None:
            tried.add(link.address)
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise DeadlineExceeded("the request's deadline passed before the text was scored")
            try:
                return await link.score(token_ids, num_top, remaining)
            except (Unavailable, Overloaded, OutOfKV) as error:
                last = error
        raise last or Unavailable(self._placement.why_no_verify())

    def _least_busy(self, target: str | None, tried: set[str]) -> VerifyLink | None:
        fitting = [
            link
            for link in accepted(self._placement.verify_links)
            if link.address not in tried and target in (None, weights_digest(link))
        ]
        now = time.monotonic()
        return min(
            fitting, key=lambda link: (link.speed.is_ejected(now), link.num_scores + link.num_sessions), default=None
        )
