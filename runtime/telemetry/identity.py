"""The process's certificate as a metric."""

from collections.abc import Iterator

from prometheus_client import Metric

from runtime.rpc.identity import Identity
from runtime.telemetry.families import gauge
from runtime.telemetry.telemetry import MetricSource

EXPIRY = gauge(
    "lodepool_rpc_certificate_expiry_time_seconds",
    "When the certificate that this process uses expires, seconds since the Unix epoch",
)


def identity_source(identity: Identity) -> MetricSource:
    """Return what shows an identity."""

    def families() -> Iterator[Metric]:
        yield EXPIRY.of(identity.expires_s)

    return families
