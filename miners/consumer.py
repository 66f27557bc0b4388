"""The loop that reads the share stream for who mines."""

import asyncio
import logging
from collections.abc import Sequence

import asyncpg

from miners import storage
from miners.domain import Activity, Mark, Shares
from miners.errors import MalformedRecord
from miners.metrics import Counters
from miners.records import decode_record
from runtime.eventlog.consumer import Poison, consume
from runtime.eventlog.interface import EventLog, Record
from runtime.logs import log_event
from runtime.postgres.pool import Connection, Pool

TOPIC = "shares"
GROUP = "miners"

# What a record's own values can cause.
_REFUSED = (asyncpg.DataError, asyncpg.CheckViolationError, asyncpg.NotNullViolationError)

_log = logging.getLogger("lodepool.miners")


class MinerConsumer:
    """Takes note of accounts and workers in topic `shares`.

    Args:
        pool: The database, migrated.
        eventlog: Where the topic is.
        counters: Counted up.
        batch_records_max: Records of one transaction.
    """

    def __init__(self, *, pool: Pool, eventlog: EventLog, counters: Counters, batch_records_max: int) -> None:
        self._pool = pool
        self._eventlog = eventlog
        self._counters = counters
        self._batch_records_max = batch_records_max
        self._attempt: tuple[int, Sequence[tuple[Record, str]]] = (0, ())

    async def run(self) -> None:
        """Read for ever; any error ends the loop, which then starts again from the stored position."""
        await consume(
            self._eventlog,
            self._pool,
            topic=TOPIC,
            group=GROUP,
            schema=storage.SCHEMA,
            apply=self.apply,
            records_max=self._batch_records_max,
            after_commit=self._report,
            poison=Poison(errors=_REFUSED, set_aside=self._set_aside),
        )

    async def apply(self, connection: Connection, records: Sequence[Record]) -> None:
        """Take note of the records, inside the transaction that moves the position (D3)."""
        read: list[Shares | Mark] = []
        problems: list[tuple[Record, str]] = []
        for record in records:
            match _decoded(record):
                case str() as problem:
                    problems.append((record, problem))
                case Shares() | Mark() as entry:
                    read.append(entry)
            # Catching up must not keep the other tasks of the process waiting for seconds.
            await asyncio.sleep(0)
        activity = Activity(instances=await storage.load_progress(connection, {entry.instance for entry in read}))
        for entry in read:
            match entry:
                case Shares():
                    activity.add(entry)
                case Mark():
                    activity.mark(entry)
            await asyncio.sleep(0)
        await storage.write_activity(connection, activity)
        self._attempt = activity.share_count, problems

    async def _report(self, _records: Sequence[Record]) -> None:
        """Count what the transaction that was committed has done."""
        share_count, problems = self._attempt
        self._counters.batches_total += 1
        self._counters.shares_seen_total += share_count
        for record, problem in problems:
            self._pass_over(record, problem)

    async def _set_aside(self, _connection: Connection, record: Record, error: Exception) -> None:
        self._pass_over(record, f"{type(error).__name__}: {error}")

    def _pass_over(self, record: Record, problem: str) -> None:
        """Only count it: the share processor sets it aside for the operator; here it only hides when somebody mined."""
        self._counters.records_malformed_total += 1
        place = {"partition": record.partition, "offset": record.offset}
        log_event(_log, logging.WARNING, "share record passed over", **place, error=problem)


def _decoded(record: Record) -> Shares | Mark | str:
    """Return what is in a record, or the problem with it."""
    try:
        return decode_record(record.payload)
    except MalformedRecord as error:
        return error.problem
