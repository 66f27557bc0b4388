"""Spans on their way to a collector: a bounded queue, a thread that sends, and what is dropped is counted."""

import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import Metric

from runtime.logs import log_event
from runtime.telemetry.families import counter
from runtime.telemetry.parents import LINKS_MAX
from runtime.telemetry.process import version

_log = logging.getLogger("lodepool.telemetry")

SPANS = counter("lodepool_trace_spans_total", "Spans by what became of them", "outcome")

QUEUE_SPANS_MAX: Final = 4096
BATCH_SPANS_MAX: Final = 512
EXPORT_TIMEOUT_S: Final = 5
_WAIT_S: Final = 0.5
_CLOSE_S: Final = 3.0


class QueueingProcessor(SpanProcessor):
    """Hands ended spans to a thread that exports them; drops what does not fit into the queue.

    Args:
        exporter: Sends spans; may block and fail.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._queue: queue.Queue[ReadableSpan] = queue.Queue(QUEUE_SPANS_MAX)
        self._stopping = threading.Event()
        self._counts = {"sent": 0, "failed": 0, "dropped": 0}
        self._is_failing = False
        self._thread = threading.Thread(target=self._work, name="span exporter", daemon=True)
        self._thread.start()

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        """Do nothing: a span is sent when it has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span."""
        try:
            self._queue.put_nowait(span)
        except queue.Full:
            self._counts["dropped"] += 1

    def shutdown(self) -> None:
        """Send what is queued, for a few seconds at most."""
        self._stopping.set()
        self._thread.join(_CLOSE_S)
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  the interface's
        """Tell whether everything was sent; the thread sends by itself within a second."""
        return self._queue.empty()

    def families(self) -> Iterator[Metric]:
        """Yield the counts; a MetricSource."""
        yield SPANS.by(self._counts)

    def _work(self) -> None:
        while not (self._stopping.is_set() and self._queue.empty()):
            batch = self._batch()
            if batch:
                self._export(batch)

    def _batch(self) -> list[ReadableSpan]:
        batch: list[ReadableSpan] = []
        try:
            batch.append(self._queue.get(timeout=_WAIT_S))
            while len(batch) < BATCH_SPANS_MAX:
                batch.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _export(self, batch: Sequence[ReadableSpan]) -> None:
        problem = "refused"
        try:
            is_sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as error:
            is_sent, problem = False, type(error).__name__
        self._counts["sent" if is_sent else "failed"] += len(batch)
        if is_sent == self._is_failing:
            self._is_failing = not is_sent
            event = "traces sent again" if is_sent else "traces not sent"
            log_event(_log, logging.INFO if is_sent else logging.WARNING, event, problem="" if is_sent else problem)


def open_provider(endpoint: str, *, process: str) -> tuple[TracerProvider, QueueingProcessor]:
    """Return what makes tracers, and what sends their spans.

    Args:
        endpoint: "http://host:4318".
        process: Becomes the service's name.
    """
    # The exporter logs each failure; ours logs the first and the last.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    processor = QueueingProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S))
    provider = TracerProvider(
        resource=Resource({"service.name": f"lodepool-{process}", "service.version": version()}),
        shutdown_on_exit=False,
        span_limits=SpanLimits(max_links=LINKS_MAX),
    )
    provider.add_span_processor(processor)
    return provider, processor
