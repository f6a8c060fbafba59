"""The orchestrator's metrics, by the names of vLLM where it has them."""

from __future__ import annotations

from typing import Literal, get_args

from prometheus_client import CollectorRegistry

from orchestrator.events import Finished
from orchestrator.ratio import Ratio
from tandem.decoding.values import Outcome
from tandem.telemetry import counter, gauge, histogram

RefusalReason = Literal["queue_full", "deadline", "queue_timeout", "draining"]
REFUSALS: tuple[RefusalReason, ...] = get_args(RefusalReason)


class Metrics:
    """All of them. Owner: the process; sessions and the servicer count into them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = gauge(registry, "num_requests_running", "Sessions with a client that are being generated.")
        self.waiting = gauge(
            registry, "num_requests_waiting", "Sessions that wait for their turn, or for a verify replica."
        )
        self.queue_seconds = histogram(registry, "request_queue_time_seconds", "Wait of a request for its turn.")
        refusals = counter(registry, "requests_refused", "Requests that were not admitted, by why.", ("reason",))
        self.refusals = {reason: refusals.labels(reason) for reason in REFUSALS}
        self.first_token = histogram(registry, "time_to_first_token_seconds", "Arrival to first committed token.")
        self.per_token = histogram(
            registry, "request_time_per_output_token_seconds", "Mean time of a request's tokens after the first."
        )
        self.latency = histogram(registry, "e2e_request_latency_seconds", "Arrival to end, of requests that ended.")
        self.prompt_tokens = counter(registry, "prompt_tokens", "Tokens of prompts.")
        self.generation_tokens = counter(registry, "generation_tokens", "Committed tokens.")
        self.scored_tokens = counter(registry, "scored_tokens", "Tokens of given texts that were scored.")
        self.success = counter(registry, "request_success", "Texts that ended.", ("finished_reason",))
        self.failures = counter(registry, "request_failure", "Requests that failed, by status code.", ("code",))
        self.commit_seconds = histogram(registry, "commit_seconds", "Time of one commit at the session store.")
        self._commits = counter(registry, "commits", "Commits, by the store's answer.", ("answer",))
        self.commits = {kind: self._commits.labels(kind) for kind in ("ok", "duplicate", "stale", "gap", "failed")}
        self.recoveries = counter(registry, "recoveries", "Sessions that had to be placed anew.", ("cause",))
        self.ejections = counter(
            registry, "replica_ejections", "Times a replica was left alone for being slow.", ("role",)
        )
        self.replicas = gauge(registry, "replicas", "Replicas that are known, by how they stand.", ("role", "state"))
        self._ratio = Ratio()
        worth = gauge(registry, "draft_replicas_per_verify_replica", "So many keep one verify replica busy.")
        worth.set_function(lambda: self._ratio.value)
        self.ejected = gauge(registry, "replicas_ejected", "Replicas that are left alone for being slow.", ("role",))
        self.unauthenticated = counter(registry, "unauthenticated_calls", "Calls refused for want of a valid key.")
        self.limited = counter(
            registry, "limited_calls", "Calls refused at a limit of their principal.", ("principal", "limit")
        )
        self.nll = counter(
            registry, "output_negative_log_likelihood", "Of committed tokens, under the unwarped target."
        )
        self.drafts = counter(registry, "spec_decode_num_drafts", "Committed rounds in which something was drafted.")
        self.draft_tokens = counter(registry, "spec_decode_num_draft_tokens", "Drafted tokens of committed rounds.")
        self.accepted_tokens = counter(
            registry, "spec_decode_num_accepted_tokens", "Accepted drafted tokens that were committed."
        )

    def count_committed(self, outcome: Outcome) -> None:
        """Counts one committed outcome, cut where the text ends."""
        self.generation_tokens.inc(len(outcome.token_ids))
        self._ratio.note(outcome)
        self.nll.inc(max(0.0, -sum(outcome.log_probs)))
        if outcome.num_drafted:
            self.drafts.inc()
            self.draft_tokens.inc(outcome.num_drafted)
            self.accepted_tokens.inc(outcome.num_accepted)

    def count_finished(self, finished: Finished, seconds: float) -> None:
        """Counts a text that ended ``seconds`` after its request arrived."""
        self.success.labels(finished.reason).inc()
        self.latency.observe(seconds)
        if finished.usage.completion_tokens > 1:
            self.per_token.observe(finished.usage.time_per_output_token_seconds)
