"""What the verify service counts, under the names that the field uses."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from tandem.decoding.values import MAX_DRAFT_LENGTH, Outcome
from tandem.engine.kv_metrics import KVMetrics
from tandem.recent import Recent
from tandem.telemetry import COUNTS, counter, gauge, histogram
from verify_service.events import Answer, Dropped, KvMissed, NotScored, Refused, Scored, Verdict

_VERDICTS = ("judged", "decoded", "repeated", "superseded", "kv_miss", "dropped", "refused")


class VerifyMetrics:
    """Metrics of one verify replica. Counted in the model thread, read by the metrics server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._drafts = counter(registry, "spec_decode_num_drafts", "Proposals judged; empty ones do not count.")
        self._draft_tokens = counter(registry, "spec_decode_num_draft_tokens", "Drafted tokens judged.")
        self._accepted_tokens = counter(
            registry, "spec_decode_num_accepted_tokens", "Drafted tokens accepted; extra tokens do not count."
        )
        per_position = counter(
            registry,
            "spec_decode_num_accepted_tokens_per_pos",
            "Drafted tokens accepted, by their place in the proposal, from 0.",
            ("position",),
        )
        self._per_position = [per_position.labels(str(position)) for position in range(MAX_DRAFT_LENGTH)]
        self._tokens = counter(registry, "generation_tokens", "Tokens appended to texts.")
        self.kv = KVMetrics(registry)
        self.running = gauge(registry, "num_requests_running", "Sessions being served.")
        rounds = counter(registry, "rounds", "Rounds by what they were answered with.", ("verdict",))
        self._rounds = {verdict: rounds.labels(verdict) for verdict in _VERDICTS}
        stage = histogram(registry, "round_stage_seconds", "Where the time of a round goes.", ("stage",))
        self._queue, self._forward, self._judge = (stage.labels(name) for name in ("queue", "forward", "judge"))
        self._waited = Recent()
        waiting = gauge(registry, "num_rounds_waiting", "Rounds that waited for a pass, on average over ten seconds.")
        waiting.set_function(lambda: self._waited.per_second)  # Little: seconds waited in a second
        self._scored_tokens = counter(registry, "scored_tokens", "Tokens of given texts that were scored.")
        self._scores_waiting = gauge(registry, "num_scores_waiting", "Texts that are being scored or wait for it.")
        self._batch_size = histogram(registry, "batch_size", "Sessions in one pass of the target.", buckets=COUNTS)

    def count_pass(self, judged: Sequence[tuple[Outcome, list[Answer] | None]]) -> None:
        """Counts one pass: each row's outcome and its answers, verdict first; None where nothing had been proposed."""
        self._batch_size.observe(len(judged))
        for outcome, answers in judged:
            self._tokens.inc(len(outcome.token_ids))
            self._forward.observe(outcome.timings.forward_seconds)
            if answers is None:
                self._rounds["decoded"].inc()
            else:
                self._count_judged(outcome, answers[0])

    def _count_judged(self, outcome: Outcome, verdict: Answer) -> None:
        self._rounds["judged"].inc()
        if outcome.num_drafted:  # a drafter that was sure of nothing has proposed nothing
            self._drafts.inc()
        self._draft_tokens.inc(outcome.num_drafted)
        self._accepted_tokens.inc(outcome.num_accepted)
        for position in range(outcome.num_accepted):
            self._per_position[position].inc()
        if isinstance(verdict, Verdict):
            self._queue.observe(verdict.outcome.timings.queue_seconds)
            self._waited.add(verdict.outcome.timings.queue_seconds)
        self._judge.observe(outcome.timings.judge_seconds)

    def count_answer(self, answer: Answer) -> None:
        """Counts what a round was answered with; a first verdict is counted by `count_pass`."""
        if isinstance(answer, Verdict):
            if answer.repeated_answer:
                self._rounds["repeated"].inc()
            elif answer.superseded:
                self._rounds["superseded"].inc()
        elif isinstance(answer, KvMissed):
            self._rounds["kv_miss"].inc()
        elif isinstance(answer, Dropped):
            self._rounds["dropped"].inc()
        elif isinstance(answer, Refused):
            self._rounds["refused"].inc()

    def count_scores(self, answers: Sequence[Scored | NotScored], num_waiting: int) -> None:
        """Counts what one step of scoring came to, and how many texts are left."""
        for answer in answers:
            if isinstance(answer, Scored):
                self._scored_tokens.inc(len(answer.scores.log_probs))
        self._scores_waiting.set(num_waiting)
