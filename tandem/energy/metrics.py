"""A role's energy among its metrics; absent where it is not measured."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from tandem.energy.meter import EnergyMeter
from tandem.telemetry import PREFIX


class EnergyMetrics(Collector):
    """Reads the meter whenever metrics are asked for, so that idle energy shows without any pass."""

    def __init__(self, meter: EnergyMeter, registry: CollectorRegistry) -> None:
        self._meter = meter
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Both counters, or none of them."""
        total = self._meter.total_joules()
        if total is None:
            return
        whole = CounterMetricFamily(
            PREFIX + "energy_joules", "Energy that this role used, idle or not.", labels=("source",)
        )
        whole.add_metric((self._meter.source,), total)
        yield whole
        yield CounterMetricFamily(
            PREFIX + "request_energy_joules",
            "Energy that was charged to requests.",
            value=self._meter.charged_joules(),
        )
