"""The place of a span in its trace, as text that travels with data: a W3C traceparent."""

import re
from collections.abc import Iterable
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, TraceFlags

LINKS_MAX: Final = 32
_PARENT: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def parent_of(span: Span) -> str:
    """Return the span as a traceparent; empty for one that is not recorded."""
    context = span.get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def context_of(parent: str) -> Context | None:
    """Return the context that makes a span a child of a traceparent; None when the text is none."""
    found = _span_context(parent)
    return None if found is None else trace.set_span_in_context(NonRecordingSpan(found), Context())


def links_to(parents: Iterable[str], *, links_max: int) -> list[Link]:
    """Return links to traceparents, each once, at most `links_max`."""
    contexts = (_span_context(parent) for parent in dict.fromkeys(parents))
    return [Link(context) for context in contexts if context is not None][:links_max]


def _span_context(parent: str) -> SpanContext | None:
    match = _PARENT.fullmatch(parent)
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None
