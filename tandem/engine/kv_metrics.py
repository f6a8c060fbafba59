"""What a replica tells of its KV pool, under the names that the field uses."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from tandem.engine.hosting import HostedModel
from tandem.telemetry import counter, gauge


class KVMetrics:
    """Set in the model thread, read by the metrics server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._usage = gauge(registry, "kv_cache_usage_perc", "Share of the KV blocks that sessions hold, 0 to 1.")
        self._queries = counter(
            registry, "prefix_cache_queries", "Tokens of texts whose KV was looked for among what others had computed."
        )
        self._hits = counter(registry, "prefix_cache_hits", "Tokens of them whose KV was found.")
        self._told = (0, 0)

    def tell(self, hosted: HostedModel) -> None:
        """Brings all of them up to date."""
        self._usage.set(hosted.kv_usage())
        counts = hosted.prefix_counts
        queries, hits = self._told
        self._queries.inc(counts.queries - queries)
        self._hits.inc(counts.hits - hits)
        self._told = (counts.queries, counts.hits)
