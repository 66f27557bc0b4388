"""The event log as metrics: what is published, how far each consumer is behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from prometheus_client import Metric

from runtime.clock import Clock
from runtime.eventlog.bound import OtherEventLog
from runtime.eventlog.interface import EventLog, EventLogUnavailable, LoadPosition, OutRecord, Record, Subscription
from runtime.telemetry.families import CALLS_S, Histogram, counter, gauge, histogram
from runtime.telemetry.readings import Reading
from runtime.telemetry.telemetry import Telemetry

PUBLISHES = counter("lodepool_eventlog_publishes_total", "Publishes by how they ended", "topic", "outcome")
PUBLISHED = counter("lodepool_eventlog_records_published_total", "Records published and durable", "topic")
PUBLISH_DURATION = histogram(
    "lodepool_eventlog_publish_duration_seconds", "How long it took until what was published was durable", "topic"
)
POLLED = counter("lodepool_eventlog_records_polled_total", "Records read, repeats included", "topic", "group")
POLL_FAILURES = counter("lodepool_eventlog_poll_failures_total", "Polls that found the log away", "topic", "group")
POLL_AGE = gauge(
    "lodepool_eventlog_poll_age_seconds", "How long ago the consumer last asked with success", "topic", "group"
)
LAG = gauge(
    "lodepool_eventlog_lag_records", "Records that the consumer has still to read", "topic", "group", "partition"
)
OTHER_LOG = gauge("lodepool_eventlog_other_log", "1 when the books turned out to be made from another log, else 0")


class _Counts:
    def __init__(self) -> None:
        self.is_other_log = False
        self.publishes: dict[tuple[str, str], int] = {}
        self.published: dict[str, int] = {}
        self.durations: dict[str, Histogram] = {}
        self.polled: dict[tuple[str, str], int] = {}
        self.poll_failures: dict[tuple[str, str], int] = {}
        self.polled_s: dict[tuple[str, str], float] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Note whether what runs inside finds that the positions belong to another log."""
        try:
            yield
        except OtherEventLog:
            self.is_other_log = True
            raise
        self.is_other_log = False


class ObservedEventLog:
    """An EventLog that counts what goes through another one.

    Args:
        eventlog: The one that does the work; closed with this one.
        clock: The time.
    """

    def __init__(self, eventlog: EventLog, *, clock: Clock) -> None:
        self._eventlog = eventlog
        self._clock = clock
        self._counts = _Counts()
        self._subscriptions: set[_ObservedSubscription] = set()

    async def publish(self, topic: str, records: Sequence[OutRecord]) -> None:
        """Append the records, all or none, and return once they are durable."""
        counts, start_s, outcome = self._counts, self._clock.monotonic_s(), "failed"
        try:
            await self._eventlog.publish(topic, records)
            outcome = "durable"
        finally:
            counts.publishes[topic, outcome] = counts.publishes.get((topic, outcome), 0) + 1
        counts.published[topic] = counts.published.get(topic, 0) + len(records)
        counts.durations.setdefault(topic, Histogram(CALLS_S)).observe(self._clock.monotonic_s() - start_s)

    async def subscribe(self, topic: str, *, group: str, load_position: LoadPosition) -> Subscription:
        """Return a subscription that is counted."""
        with self._counts.watching():
            inner = await self._eventlog.subscribe(topic, group=group, load_position=load_position)
        subscription = _ObservedSubscription(
            inner, name=(topic, group), counts=self._counts, clock=self._clock, open_ones=self._subscriptions
        )
        self._subscriptions.add(subscription)
        return subscription

    async def partition_count(self, topic: str) -> int:
        """Return into how many partitions a topic is divided now."""
        return await self._eventlog.partition_count(topic)

    async def close(self) -> None:
        """Close the log."""
        await self._eventlog.close()

    async def lags(self) -> Mapping[tuple[str, str, str], int]:
        """Return (topic, group, partition) → records still to read; what cannot be asked now is left out."""
        lags: dict[tuple[str, str, str], int] = {}
        for subscription in tuple(self._subscriptions):
            with contextlib.suppress(EventLogUnavailable):
                for partition, count in (await subscription.lag()).items():
                    lags[*subscription.name, str(partition)] = count
        return lags

    def families(self) -> Iterator[Metric]:
        """Yield what was counted; a MetricSource."""
        counts, now_s = self._counts, self._clock.monotonic_s()
        yield PUBLISHES.by(counts.publishes)
        yield PUBLISHED.by(counts.published)
        yield PUBLISH_DURATION.seen_by(counts.durations)
        yield POLLED.by(counts.polled)
        yield POLL_FAILURES.by(counts.poll_failures)
        yield POLL_AGE.by({name: now_s - polled_s for name, polled_s in counts.polled_s.items()})
        yield OTHER_LOG.of(int(counts.is_other_log))


class _ObservedSubscription:
    def __init__(
        self,
        inner: Subscription,
        *,
        name: tuple[str, str],
        counts: _Counts,
        clock: Clock,
        open_ones: "set[_ObservedSubscription]",
    ) -> None:
        self.name = name
        self._inner = inner
        self._counts = counts
        self._clock = clock
        self._open_ones = open_ones
        counts.polled.setdefault(name, 0)
        counts.poll_failures.setdefault(name, 0)

    async def poll(self, *, records_max: int, timeout_s: float) -> Sequence[Record]:
        try:
            records = await self._inner.poll(records_max=records_max, timeout_s=timeout_s)
        except EventLogUnavailable:
            self._counts.poll_failures[self.name] += 1
            raise
        self._counts.polled[self.name] += len(records)
        self._counts.polled_s[self.name] = self._clock.monotonic_s()
        return records

    async def rewind(self) -> None:
        await self._inner.rewind()

    async def progress(self) -> Mapping[int, int]:
        with self._counts.watching():
            return await self._inner.progress()

    async def lag(self) -> Mapping[int, int]:
        return await self._inner.lag()

    async def close(self) -> None:
        self._open_ones.discard(self)
        await self._inner.close()


@contextlib.asynccontextmanager
async def observed(eventlog: EventLog, *, telemetry: Telemetry, clock: Clock) -> AsyncIterator[ObservedEventLog]:
    """Show an event log's metrics for as long as the block runs; closing the log stays the caller's."""
    watched = ObservedEventLog(eventlog, clock=clock)
    withdraw = telemetry.register(watched.families)
    reading = Reading("eventlog", read=watched.lags, families=lambda lags: (LAG.by(lags),), clock=clock)
    task = asyncio.create_task(telemetry.read(reading), name="event log reading")
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        withdraw()
