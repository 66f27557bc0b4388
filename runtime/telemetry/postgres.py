"""The pool of database connections as metrics."""

from collections.abc import Iterator

from prometheus_client import Metric

from runtime.postgres.pool import ACQUISITIONS, Pool
from runtime.telemetry.families import counter, gauge, histogram
from runtime.telemetry.telemetry import MetricSource

SIZE = gauge("lodepool_postgres_connections", "Connections of the pool by state", "state")
SIZE_MAX = gauge("lodepool_postgres_connections_max", "Connections that the pool may have")
WAITING = gauge("lodepool_postgres_waiting", "Tasks that wait for a connection now")
ACQUIRED = counter("lodepool_postgres_acquisitions_total", "Connections asked for, by outcome", "outcome")
WAIT = histogram("lodepool_postgres_wait_seconds", "How long a task waited for a connection")


def pool_source(pool: Pool) -> MetricSource:
    """Return what shows a pool."""

    def families() -> Iterator[Metric]:
        size, idle = pool.get_size(), pool.get_idle_size()
        yield SIZE.by({"used": size - idle, "idle": idle})
        yield SIZE_MAX.of(pool.get_max_size())
        yield WAITING.of(ACQUISITIONS.waiting)
        yield ACQUIRED.by({"acquired": ACQUISITIONS.acquired_total, "failed": ACQUISITIONS.failed_total})
        yield WAIT.seen(ACQUISITIONS.waits)

    return families
