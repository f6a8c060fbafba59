"""What the draft service counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from tandem.engine.kv_metrics import KVMetrics
from tandem.telemetry import COUNTS, counter, gauge, histogram


class DraftMetrics:
    """Metrics of one draft replica. Counted in the model thread, read by the metrics server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.draft_seconds = histogram(registry, "draft_seconds", "One batch of drafting.")
        self.batch_size = histogram(registry, "batch_size", "Sessions in one batch of drafting.", buckets=COUNTS)
        self.verify_seconds = histogram(
            registry, "verify_round_trip_seconds", "From sending a proposal until its verdict was applied."
        )
        self.sessions = gauge(registry, "num_requests_running", "Sessions leased.")
        self.kv = KVMetrics(registry)
        self.kv_misses = counter(registry, "kv_misses", "Rounds whose text the verify replica did not hold.")
        self.leases_ended = counter(registry, "leases_ended", "Leases over before their text was.", ("failed",))
