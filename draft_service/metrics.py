"""What the draft service counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from tandem.engine.kv_metrics import KVMetrics
from tandem.recent import Recent
from tandem.telemetry import COUNTS, counter, gauge, histogram


class DraftMetrics:
    """Metrics of one draft replica. Counted in the model thread, read by the metrics server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.draft_seconds = histogram(registry, "draft_seconds", "One batch of drafting.")
        self.batch_size = histogram(registry, "batch_size", "Sessions in one batch of drafting.", buckets=COUNTS)
        self.verify_seconds = histogram(
            registry, "verify_round_trip_seconds", "From sending a proposal until its verdict was applied."
        )
        self._wanted, self._granted, self._waits = Recent(), Recent(), Recent()
        wait = gauge(registry, "queue_wait_seconds", "Mean wait of a session for its drafting, over ten seconds.")
        wait.set_function(lambda: self._waits.mean)
        deficit = gauge(registry, "speculation_deficit", "Share of wanted draft lengths not drafted, over ten seconds.")
        deficit.set_function(self._deficit)
        self.sessions = gauge(registry, "num_requests_running", "Sessions leased.")
        self.kv = KVMetrics(registry)
        self.kv_misses = counter(registry, "kv_misses", "Rounds whose text the verify replica did not hold.")
        self.leases_ended = counter(registry, "leases_ended", "Leases over before their text was.", ("failed",))

    def count_drafted(self, depth: int, wanted: int, wait_seconds: float) -> None:
        """Counts a proposal of ``depth`` where a draft length of ``wanted`` would have been right."""
        self._granted.add(min(depth, wanted))
        self._wanted.add(wanted)
        self._waits.add(wait_seconds)

    def _deficit(self) -> float:
        wanted = self._wanted.total
        return max(0.0, 1.0 - self._granted.total / wanted) if wanted else 0.0
