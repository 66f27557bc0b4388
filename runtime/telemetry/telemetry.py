"""The metrics and traces of one process."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from opentelemetry.trace import NoOpTracer, Tracer
from prometheus_client import CollectorRegistry, Metric

MetricSource: TypeAlias = Callable[[], Iterable[Metric]]
"""Gives metric families with their values at the moment of the call; called at each scrape, so it must be quick."""


class Telemetry:
    """Collects metrics when they are asked for, so that counting costs an addition and nothing else.

    Args:
        tracer: Makes spans.

    Attributes:
        registry: What a scrape reads.
        tracer: Makes spans; one that does nothing where tracing is off.
    """

    def __init__(self, tracer: Tracer) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.tracer = tracer

    @classmethod
    def off(cls) -> "Telemetry":
        """Return one whose metrics nobody scrapes and whose spans go nowhere."""
        return cls(NoOpTracer())

    def register(self, source: MetricSource) -> None:
        """Add metrics to what a scrape reads."""
        self.registry.register(_Source(source))


class _Source:
    """A MetricSource as prometheus_client wants it."""

    def __init__(self, source: MetricSource) -> None:
        self._source = source

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are checked by the test of docs/METRICS.md."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the families as they are now."""
        return self._source()
