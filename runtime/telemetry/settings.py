"""Where a process shows its metrics and sends its traces."""

from typing import Annotated, ClassVar

import msgspec


class TelemetrySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[telemetry]` section.

    Attributes:
        metrics_host: Address that /metrics and /healthz listen on.
        metrics_port: Their port; 0 takes a free one. Without it there are no metrics. `lodepool up` gives each of its
            processes its own port, counting up from this one.
        otlp_endpoint: Where traces go, an OpenTelemetry collector's OTLP over HTTP ("http://host:4318"); empty: none.
        trace_sample_per_s: Traces of shares that a process begins a second at most. Blocks and payouts are always
            traced.
    """

    LIVE: ClassVar[frozenset[str]] = frozenset()

    metrics_host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    metrics_port: Annotated[int, msgspec.Meta(ge=0, le=65535)] | None = None
    otlp_endpoint: Annotated[str, msgspec.Meta(pattern="^$|^https?://[^/]+")] = ""
    trace_sample_per_s: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 1.0


def metrics_port(base: int | None, process: str) -> int | None:
    """Return the port of one of the processes that `lodepool up` starts.

    Args:
        base: `metrics_port` of the settings; 0 and None stay what they are.
        process: "office", "shipper" or "stratum-N": they get base, base + 1 and base + 6 + N; 9464, 9465 and 9470 + N
            when the base is 9464.

    Raises:
        ValueError: When it is none of these.
    """
    if not base:
        return base
    if process == "office":
        return base
    if process == "shipper":
        return base + 1
    service, _, slot = process.rpartition("-")
    if service != "stratum" or not slot.isdigit():
        raise ValueError(f"{process!r} is no process of one machine's pool")
    return base + 6 + int(slot)
