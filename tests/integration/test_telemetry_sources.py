"""What is shown of the event log, the database and etcd, on the real things."""

import pytest

from runtime.clock import SystemClock
from runtime.etcd.client import EtcdClient
from runtime.etcd.errors import EtcdUnavailable
from runtime.etcd.metrics import etcd_source
from runtime.etcd.settings import EtcdSettings
from runtime.eventlog.bound import BoundEventLog, OtherEventLog
from runtime.eventlog.interface import OutRecord
from runtime.eventlog.postgres import PostgresEventLog
from runtime.platform import Platform
from runtime.process import free_port
from runtime.telemetry import Telemetry
from runtime.telemetry.eventlog import observed
from runtime.telemetry.postgres import pool_source
from tests.fakes.etcd_cluster import EtcdCluster


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, labels)


async def from_the_beginning(_partition: int) -> int:
    return 0


async def test_lag_falls_as_records_are_polled(platform: Platform) -> None:
    telemetry = Telemetry.off()
    async with observed(platform.eventlog, telemetry=telemetry, clock=SystemClock()) as eventlog:
        await eventlog.publish("lagging", [OutRecord(key=b"", payload=bytes([n])) for n in range(5)])
        subscription = await eventlog.subscribe("lagging", group="readers", load_position=from_the_beginning)
        assert await eventlog.lags() == {}
        await subscription.poll(records_max=2, timeout_s=5)
        assert await eventlog.lags() == {("lagging", "readers", "0"): 3}
        await subscription.poll(records_max=3, timeout_s=5)
        assert await eventlog.lags() == {("lagging", "readers", "0"): 0}
        await subscription.rewind()
        assert await eventlog.lags() == {}
        assert value(telemetry, "lodepool_eventlog_publishes_total", topic="lagging", outcome="durable") == 1
        assert value(telemetry, "lodepool_eventlog_records_published_total", topic="lagging") == 5
        assert value(telemetry, "lodepool_eventlog_records_polled_total", topic="lagging", group="readers") == 5
        age_s = value(telemetry, "lodepool_eventlog_poll_age_seconds", topic="lagging", group="readers")
        assert age_s is not None
        assert age_s < 30
        await subscription.close()
        assert await eventlog.lags() == {}


async def test_books_of_another_log_are_shown_until_the_configuration_is_set_back(platform: Platform) -> None:
    """DESIGN §7: positions that belong to another event log are a value of their own, for an alert."""
    telemetry = Telemetry.off()
    log = BoundEventLog(await PostgresEventLog.open(platform.pool), platform.pool)
    async with observed(log, telemetry=telemetry, clock=SystemClock()) as eventlog:
        subscription = await eventlog.subscribe("bound", group="readers", load_position=from_the_beginning)
        assert value(telemetry, "lodepool_eventlog_other_log") == 0
        await platform.pool.execute("UPDATE eventlog.bound SET is_current = false")
        with pytest.raises(OtherEventLog):
            await subscription.progress()
        assert value(telemetry, "lodepool_eventlog_other_log") == 1
        await platform.pool.execute("UPDATE eventlog.bound SET is_current = true")
        await subscription.progress()
        assert value(telemetry, "lodepool_eventlog_other_log") == 0
        await subscription.close()


async def test_connections_in_use_are_shown(platform: Platform) -> None:
    telemetry = Telemetry.off()
    telemetry.register(pool_source(platform.pool))
    before = value(telemetry, "lodepool_postgres_connections", state="used")
    async with platform.pool.acquire():
        assert value(telemetry, "lodepool_postgres_connections", state="used") == (before or 0) + 1


async def test_the_age_of_the_last_answer_of_etcd_is_shown() -> None:
    telemetry = Telemetry.off()
    async with EtcdCluster() as cluster, EtcdClient(cluster.settings()) as etcd:
        telemetry.register(etcd_source(etcd))
        assert value(telemetry, "lodepool_etcd_answer_age_seconds") is None
        await etcd.get("nothing")
        age_s = value(telemetry, "lodepool_etcd_answer_age_seconds")
        assert age_s is not None
        assert age_s < 10


async def test_calls_to_etcd_that_nobody_answers_are_counted() -> None:
    telemetry = Telemetry.off()
    settings = EtcdSettings(endpoints=(f"127.0.0.1:{free_port()}",), cluster="test")
    async with EtcdClient(settings) as etcd:
        telemetry.register(etcd_source(etcd))
        with pytest.raises(EtcdUnavailable):
            await etcd.get("nothing")
        assert value(telemetry, "lodepool_etcd_calls_total", outcome="unanswered") == 1
        assert value(telemetry, "lodepool_etcd_answer_age_seconds") is None
