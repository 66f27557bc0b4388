"""Traces of shares: some turns of the event loop, at most so many a second, and each turn that finds a block."""

import time
from typing import Final

from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from runtime.telemetry import Telemetry
from runtime.telemetry.parents import parent_of

_NS: Final = 1_000_000_000


class TurnTrace:
    """The trace of what one turn takes: from the first line's arrival to the answers."""

    def __init__(self, telemetry: Telemetry, *, start_ns: int) -> None:
        self._tracer = telemetry.tracer
        self._span = self._tracer.start_span("stratum.submit", start_time=start_ns)
        self._journal: Span | None = None
        self.parent = parent_of(self._span)

    def begin_journal(self) -> None:
        """Note that the journal is written now."""
        self._journal = self._tracer.start_span("stratum.journal", context=set_span_in_context(self._span))

    def end_journal(self, *, share_count: int, refusal: str) -> None:
        """Note that it was written, or why not."""
        if self._journal is not None:
            self._journal.set_attribute("share_count", share_count)
            if refusal:
                self._journal.set_status(Status(StatusCode.ERROR, refusal))
            self._journal.end()

    def end(self) -> None:
        """Note that the answers are written."""
        self._span.end()


class ShareTraces:
    """Begins traces.

    Args:
        telemetry: Where spans go, and how many traces may be begun a second.
    """

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        per_s = telemetry.trace_sample_per_s
        self._interval_s = 1.0 / per_s if per_s else float("inf")
        self._due_s = 0.0 if per_s else float("inf")

    def is_due(self, now_s: float) -> bool:
        """Return whether another trace may be begun, by the monotonic clock."""
        return now_s >= self._due_s

    def begin(self, arrived_s: float) -> TurnTrace:
        """Begin the trace of what came at `arrived_s`, by the monotonic clock."""
        now_s = time.monotonic()
        self._due_s = now_s + self._interval_s
        return TurnTrace(self._telemetry, start_ns=time.time_ns() - int((now_s - arrived_s) * _NS))


def share_traces(telemetry: Telemetry) -> ShareTraces | None:
    """Return what begins traces, None where they would go nowhere."""
    return ShareTraces(telemetry) if telemetry.is_tracing else None
