"""The metrics and traces of one process."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NoOpTracer, Span, Tracer
from prometheus_client import CollectorRegistry, Metric

from runtime.telemetry.parents import LINKS_MAX, context_of, links_to
from runtime.telemetry.readings import AGE, Reading
from runtime.telemetry.rpc import RpcClientMetrics, RpcServerMetrics

T = TypeVar("T")

MetricSource: TypeAlias = Callable[[], Iterable[Metric]]
"""Gives metric families with their values at the moment of the call; called at each scrape, so it must be quick."""


class Telemetry:
    """Collects metrics when they are asked for, so that counting costs an addition and nothing else.

    Args:
        tracer: Makes spans.
        is_tracing: Whether they go anywhere.
        trace_sample_per_s: Traces of shares that may be begun a second.

    Attributes:
        registry: What a scrape reads.
        tracer: Makes spans; one that does nothing where tracing is off.
        is_tracing: False where spans go nowhere: what would only prepare them can be left out.
        trace_sample_per_s: Traces of shares that may be begun a second; 0 where tracing is off.
        metrics_address: "host:port" of /metrics; empty without one.
        rpc_server: For the interceptors of a gRPC server.
        rpc_clients: Its `interceptors` are for gRPC clients.
    """

    def __init__(self, tracer: Tracer, *, is_tracing: bool = False, trace_sample_per_s: float = 0.0) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.tracer = tracer
        self.is_tracing = is_tracing
        self.trace_sample_per_s = trace_sample_per_s if is_tracing else 0.0
        self.metrics_address = ""
        self.rpc_server = RpcServerMetrics()
        self.rpc_clients = RpcClientMetrics()
        self._readings: list[Reading[object]] = []
        for source in (self.rpc_server.families, self.rpc_clients.families, self._reading_ages):
            self.register(source)

    @classmethod
    def off(cls) -> "Telemetry":
        """Return one whose metrics nobody scrapes and whose spans go nowhere."""
        return cls(NoOpTracer())

    @contextlib.contextmanager
    def span(self, name: str, parent: str = "", *, links: Sequence[str] = ()) -> Iterator[Span]:
        """Open a span, which is also the log lines', for as long as the block runs; free where tracing is off.

        Args:
            name: "<service>.<what>".
            parent: Traceparent of the span it belongs to; empty or unreadable begins a trace.
            links: Traceparents of what else it comes from, `LINKS_MAX` at most.
        """
        if not self.is_tracing:
            yield INVALID_SPAN
            return
        context = context_of(parent) or Context()
        linked = links_to(links, links_max=LINKS_MAX)
        with self.tracer.start_as_current_span(name, context=context, links=linked) as span:
            yield span

    @contextlib.contextmanager
    def spans(self, name: str, parents: Iterable[str]) -> Iterator[None]:
        """Open one span in each of several traces, for work that is done for all of them at once."""
        if not self.is_tracing:
            yield
            return
        contexts = [context_of(parent) for parent in dict.fromkeys(parents)]
        opened = [self.tracer.start_span(name, context=context) for context in contexts if context is not None]
        try:
            yield
        except BaseException as error:
            for span in opened:
                span.record_exception(error)
            raise
        finally:
            for span in opened:
                span.end()

    def register(self, source: MetricSource) -> Callable[[], None]:
        """Add metrics to what a scrape reads.

        Returns:
            Call it to take them out again.
        """
        wrapped = _Source(source)
        self.registry.register(wrapped)
        return lambda: self.registry.unregister(wrapped)

    async def read(self, reading: Reading[T]) -> None:
        """Show values that cost a query, and keep reading them until cancelled."""
        withdraw = self.register(reading.families)
        # Only its name and age are asked for, whatever it reads.
        known: Reading[object] = reading  # type: ignore[assignment]
        self._readings.append(known)
        try:
            await reading.run()
        finally:
            self._readings.remove(known)
            withdraw()

    def _reading_ages(self) -> Iterator[Metric]:
        ages = {reading.name: reading.age_s for reading in self._readings}
        yield AGE.by({name: age_s for name, age_s in ages.items() if age_s is not None})


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
