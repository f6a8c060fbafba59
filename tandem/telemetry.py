"""Logs and metrics, set up once a process by whoever starts it; nothing here happens on import."""

from __future__ import annotations

import json
import logging
import sys
from typing import Final, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

PREFIX: Final = "tandem:"

SECONDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""Bucket bounds of every duration: from a codec's cost to a long prefill."""

COUNTS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Bucket bounds of batch sizes."""


class Lines:
    """A text stream whose lines are lost while they cannot be written, as on a full disk: nobody fails for a log."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._num_lost = 0

    def write(self, text: str) -> int:
        """Writes, or loses; the next line that can be written follows one that says how many were lost."""
        try:
            if self._num_lost:
                self._file.write(json.dumps({"event": "lines were lost", "num_lines": self._num_lost}) + "\n")
                self._file.flush()
                self._num_lost = 0
            self._file.write(text)
            self._file.flush()
        except OSError:
            self._num_lost += 1
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def configure_logging(role: str, level: str = "info") -> None:
    """Sends JSON lines to stderr: time, level, role, event, fields. Warnings of libraries come the same way.

    Fields bound as structlog's context variables stand in every line of the task that bound them, and of its children.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = cast(TextIO, Lines(sys.stderr))

    # Bound here, not in a context variable: lines of the model thread carry the role too.
    def with_role(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"role": role, **event}

    shared: list[structlog.typing.Processor] = [
        with_role,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=lines),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry ``name``; usable before and after `configure_logging`."""
    found: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=name)
    return found


def new_registry() -> CollectorRegistry:
    """A metrics registry with the process's own figures. One a process, or one a test."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def counter(registry: CollectorRegistry, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Counter:
    """A counter ``tandem:<name>_total``; ``name`` is given without the suffix."""
    return Counter(PREFIX + name, help_text, labels, registry=registry)


def gauge(registry: CollectorRegistry, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
    """A gauge ``tandem:<name>``."""
    return Gauge(PREFIX + name, help_text, labels, registry=registry)


def histogram(
    registry: CollectorRegistry,
    name: str,
    help_text: str,
    labels: tuple[str, ...] = (),
    buckets: tuple[float, ...] = SECONDS,
) -> Histogram:
    """A histogram ``tandem:<name>``."""
    return Histogram(PREFIX + name, help_text, labels, registry=registry, buckets=buckets)
