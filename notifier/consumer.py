"""Topic `notices` → queued deliveries."""

import logging
from collections.abc import Callable, Sequence

import asyncpg

from notifier import queueing
from notifier.config import NotifierSettings
from notifier.errors import NoticeInvalid
from notifier.metrics import Counters
from notifier.notices import Notice
from notifier.records import decode
from notifier.subscriptions import SCHEMA
from runtime.clock import Clock
from runtime.eventlog.consumer import Poison, consume
from runtime.eventlog.interface import EventLog, Record
from runtime.live import Live
from runtime.logs import log_event
from runtime.postgres.pool import Connection, Pool, acquired

_log = logging.getLogger("lodepool.notifier")

TOPIC = "notices"
GROUP = "notifier"
RECORDS_MAX = 50
ANALYZE_FROM = 5000

# What a record's own values can cause.
_REFUSED = (asyncpg.DataError, asyncpg.CheckViolationError)


class NoticeConsumer:
    """Queues each notice once for everybody who wants it.

    Args:
        live: The `[notifier]` section.
        clock: The time.
        counters: Counted into.
    """

    def __init__(self, *, live: Live[NotifierSettings], clock: Clock, counters: Counters) -> None:
        self._live = live
        self._clock = clock
        self._counters = counters
        self._queued_count = 0

    async def run(self, eventlog: EventLog, pool: Pool, *, after_commit: Callable[[], None]) -> None:
        """Consume for ever; `after_commit` is called after each transaction."""

        async def told(_records: Sequence[Record]) -> None:
            after_commit()
            if self._queued_count >= ANALYZE_FROM:
                self._queued_count = 0
                # A hundred thousand rows at once: the planner must not take the queue for empty until autovacuum comes.
                async with acquired(pool) as connection:
                    await connection.execute("ANALYZE notifier.delivery, notifier.subscription", timeout=60)

        await consume(
            eventlog,
            pool,
            topic=TOPIC,
            group=GROUP,
            schema=SCHEMA,
            apply=self.apply,
            records_max=RECORDS_MAX,
            after_commit=told,
            poison=Poison(errors=_REFUSED, set_aside=self._set_aside),
        )

    async def apply(self, connection: Connection, records: Sequence[Record]) -> None:
        """Queue records inside the caller's transaction; a notice's id is taken once, whatever the log repeats (D3)."""
        for record in records:
            try:
                notice = decode(record.payload)
            except NoticeInvalid as error:
                await self._set_aside(connection, record, error)
                continue
            await self._queue(connection, notice, record.payload)

    async def _queue(self, connection: Connection, notice: Notice, payload: bytes) -> None:
        now_ms = self._clock.now_ms()
        settings = self._live.value
        notice_no = await queueing.take(connection, notice, payload, now_ms=now_ms)
        if notice_no is None:
            self._counters.repeated_total += 1
            return
        self._counters.taken[notice.kind.value] += 1
        if notice.kind in queueing.CONDITIONS and now_ms - notice.time_ms > settings.stale_s * 1000:
            self._counters.stale_total += 1
            return
        count = await queueing.queue(connection, notice, notice_no, now_ms=now_ms, breakers=settings.quiet_breakers)
        self._counters.queued_total += count
        self._queued_count += count

    async def _set_aside(self, connection: Connection, record: Record, error: Exception) -> None:
        await connection.execute(
            """
            INSERT INTO notifier.poison (topic, partition, record_offset, payload, error)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
            """,
            record.topic,
            record.partition,
            record.offset,
            record.payload,
            str(error)[:500],
        )
        self._counters.poison_total += 1
        log_event(_log, logging.ERROR, "notice record set aside", offset=record.offset, error=str(error))
