"""The way to etcd as metrics."""

from collections.abc import Callable, Iterator

from prometheus_client import Metric

from runtime.etcd.client import EtcdClient
from runtime.telemetry.families import counter, gauge

CALLS = counter("lodepool_etcd_calls_total", "Calls to one of etcd's members, by whether it answered", "outcome")
AGE = gauge("lodepool_etcd_answer_age_seconds", "How long ago etcd last answered; absent before it ever did")


def etcd_source(etcd: EtcdClient) -> Callable[[], Iterator[Metric]]:
    """Return what shows a client."""

    def families() -> Iterator[Metric]:
        yield CALLS.by({"answered": etcd.answered_count, "unanswered": etcd.unanswered_count})
        if etcd.answered_s is not None:
            yield AGE.of(etcd.clock.monotonic_s() - etcd.answered_s)

    return families
