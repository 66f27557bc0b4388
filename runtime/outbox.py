"""A transactional outbox: records for the event log that arise together with a service's own effects.

`put` writes them in the effect's transaction, so that they exist if and only if the effect does; `OutboxPublisher`
hands them to the event log and deletes what the log has acknowledged. A crash between the two publishes again: readers
tell by an id in the payload. In a service's migration stands `OUTBOX_TABLE`.
"""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from runtime.clock import Clock, sleep_unless
from runtime.eventlog.interface import EventLog, EventLogUnavailable, OutRecord
from runtime.logs import log_event
from runtime.postgres.pool import Connection, Pool, acquired

OUTBOX_TABLE: Final = """
CREATE TABLE {schema}.outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL CHECK (topic <> ''),
    key bytea NOT NULL,
    payload bytea NOT NULL CHECK (octet_length(payload) <= 65536),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""

POLL_S: Final = 1.0
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0
BATCH_RECORDS_MAX: Final = 200
PAYLOAD_BYTES_MAX: Final = 65_536

_LOCK_NAMESPACE: Final = 0x6F757462  # "outb": the first half of the advisory lock's key

_log = logging.getLogger("lodepool.outbox")


async def put(connection: Connection, schema: str, topic: str, records: Sequence[OutRecord]) -> None:
    """Write records that are published once the caller's transaction is committed.

    Records of one key are published in the order in which they were put by transactions that wait for one another, on
    the row that they are about; what is put at the same time by transactions that do not has no order.

    Args:
        connection: In the transaction of the effect.
        schema: Whose outbox.
        topic: Of the event log.
        records: In order; payloads of at most `PAYLOAD_BYTES_MAX`.
    """
    if not records:
        return
    await connection.execute(
        f"""
        INSERT INTO {schema}.outbox (topic, key, payload)
        SELECT $1, entry.key, entry.payload
        FROM unnest($2::bytea[], $3::bytea[]) WITH ORDINALITY AS entry(key, payload, number) ORDER BY entry.number
        """,
        topic,
        [record.key for record in records],
        [record.payload for record in records],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What an outbox holds.

    Attributes:
        record_count: Records that the event log has not acknowledged.
        oldest_s: Age of the oldest, seconds; 0 without one.
    """

    record_count: int
    oldest_s: float


async def read_waiting(connection: Connection, schema: str) -> Waiting:
    """Return what waits in an outbox, for people who look on."""
    row = await connection.fetchrow(
        f"""
        SELECT count(*) AS record_count,
            coalesce(extract(epoch FROM clock_timestamp() - min(create_time)), 0)::float8 AS oldest_s
        FROM {schema}.outbox
        """
    )
    assert row is not None
    return Waiting(record_count=row["record_count"], oldest_s=row["oldest_s"])


class OutboxPublisher:
    """Hands what was put to the event log.

    Any number of processes may run one for the same outbox: they take turns, batch by batch, by a lock of the database.
    So the order of a key is kept: a record may be published again after a crash, but none for the first time before all
    that were put before it. A batch is deleted once the log has acknowledged it.

    Attributes:
        published_total: Records that the log has acknowledged.

    Args:
        pool: The database; two of its connections are in use while a batch is published to a log that is there too.
        eventlog: Where to.
        schema: Whose outbox.
        clock: The time.
    """

    def __init__(self, pool: Pool, eventlog: EventLog, schema: str, clock: Clock) -> None:
        self._pool = pool
        self._eventlog = eventlog
        self._schema = schema
        self._clock = clock
        self._news = asyncio.Event()
        digest = hashlib.sha256(schema.encode()).digest()
        self._lock_key = int.from_bytes(digest[:4], "big", signed=True)
        self.published_total = 0

    def wake(self) -> None:
        """Say that something was put and committed; without it, the next look sees it within `POLL_S` seconds."""
        self._news.set()

    async def run(self) -> None:
        """Publish for ever; while the log is away, wait for it.

        Raises:
            DatabaseUnavailable: When the database is away: run it under `keep_running`.
        """
        delay_s = RETRY_S_MIN
        while True:
            self._news.clear()
            try:
                count = await self.publish_batch()
            except EventLogUnavailable as error:
                if delay_s == RETRY_S_MIN:
                    log_event(_log, logging.WARNING, "event log away", outbox=self._schema, reason=str(error))
                await self._clock.sleep(delay_s)
                delay_s = min(delay_s * 2, RETRY_S_MAX)
                continue
            if delay_s != RETRY_S_MIN:
                log_event(_log, logging.INFO, "event log back", outbox=self._schema)
                delay_s = RETRY_S_MIN
            if count < BATCH_RECORDS_MAX:
                await sleep_unless(self._news, self._clock, POLL_S)

    async def publish_batch(self) -> int:
        """Publish the oldest records and delete them; return how many, 0 while another process is at it.

        Raises:
            EventLogUnavailable: When the log is away; the same is published again next time.
            DatabaseUnavailable: When the database is away.
        """
        async with acquired(self._pool) as connection, connection.transaction():
            query = "SELECT pg_try_advisory_xact_lock($1::int, $2::int)"
            if not await connection.fetchval(query, _LOCK_NAMESPACE, self._lock_key):
                return 0
            rows = await connection.fetch(
                f"SELECT outbox_id, topic, key, payload FROM {self._schema}.outbox ORDER BY outbox_id LIMIT $1",
                BATCH_RECORDS_MAX,
            )
            for topic, entries in groupby(rows, key=lambda row: row["topic"]):
                records = [OutRecord(key=row["key"], payload=row["payload"]) for row in entries]
                await self._eventlog.publish(topic, records)
            await connection.execute(
                f"DELETE FROM {self._schema}.outbox WHERE outbox_id = ANY($1::bigint[])",
                [row["outbox_id"] for row in rows],
            )
        self.published_total += len(rows)
        return len(rows)
