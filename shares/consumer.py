"""The loop that books the stream: poll, decode, one transaction, again."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from runtime.clock import Clock
from runtime.eventlog.consumer import apply_batch
from runtime.eventlog.interface import EventLog, Record
from runtime.eventlog.positions import Reached, load_position
from runtime.logs import log_event
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from runtime.telemetry import Telemetry
from shares import notices, storage
from shares.domain import Booking, Gap, Mark, ShareColumns
from shares.errors import BooksRefuse, MalformedRecord
from shares.keys import Keys, ensure_keys
from shares.metrics import Counters
from shares.records import decode_record

TOPIC = "shares"
GROUP = "shares"
PROGRESS_INTERVAL_S = 1.0

# What a record's own values can cause; a broken reference would be our fault and must not set records aside.
_REFUSED = (asyncpg.DataError, asyncpg.CheckViolationError, asyncpg.NotNullViolationError)

_log = logging.getLogger("lodepool.shares")


@dataclass(slots=True, kw_only=True)
class _Outcome:
    """What one transaction did, reported once it is committed."""

    booking: Booking
    unfilled: list[Gap]
    poison: list[tuple[Record, str]]


class ShareConsumer:
    """Books topic `shares` into slices.

    Args:
        pool: The database, migrated.
        eventlog: Where the topic is.
        clock: The time.
        counters: Counted up.
        batch_records_max: Records of one transaction.
        refused_run_max: Records in a row that may be set aside because the database refuses them.
        telemetry: For traces; None makes none.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        eventlog: EventLog,
        clock: Clock,
        counters: Counters,
        batch_records_max: int,
        refused_run_max: int = 20,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._telemetry = telemetry or Telemetry.off()
        self._pool = pool
        self._eventlog = eventlog
        self._clock = clock
        self._counters = counters
        self._batch_records_max = batch_records_max
        self._refused_run_max = refused_run_max
        self._refused_run = 0
        self._keys = Keys()
        self._partition_count = 0
        self._reached = Reached()

    async def run(self) -> None:
        """Book for ever; any error ends the loop, which then starts again from the stored position.

        Every partition has its position before anything is read, so that a window also waits for those that nobody
        reads yet.
        """
        self._keys = Keys()
        self._reached = Reached()
        await self._ensure_positions()
        subscription = await self._eventlog.subscribe(TOPIC, group=GROUP, load_position=self._position)
        try:
            save_s = self._clock.monotonic_s()
            while True:
                wait_s = max(0.0, save_s - self._clock.monotonic_s())
                records = await subscription.poll(records_max=self._batch_records_max, timeout_s=wait_s)
                if records:
                    await self.book(records)
                if self._clock.monotonic_s() >= save_s:
                    # Everything that was polled is booked by now.
                    await self._save_progress(await subscription.progress())
                    save_s = self._clock.monotonic_s() + PROGRESS_INTERVAL_S
        finally:
            await subscription.close()

    async def _position(self, partition: int) -> int:
        if partition >= self._partition_count:
            await self._ensure_positions()
        async with acquired(self._pool) as connection:
            next_offset = await load_position(connection, storage.SCHEMA, topic=TOPIC, partition=partition)
        self._reached.loaded(partition, next_offset)
        return next_offset

    async def _ensure_positions(self) -> None:
        self._partition_count = count = await self._eventlog.partition_count(TOPIC)
        async with acquired(self._pool) as connection:
            await storage.ensure_positions(connection, topic=TOPIC, partition_count=count)

    async def _save_progress(self, progress: Mapping[int, int]) -> None:
        async def work(connection: Connection) -> None:
            await storage.save_booked_times(connection, topic=TOPIC, booked_times_ms=progress)
            # What was polled and booked may be forgotten: then the stream is not booked to there.
            await self._reached.check_all(connection, storage.SCHEMA, topic=TOPIC)

        if progress:
            await transact(self._pool, work)

    async def book(self, records: Sequence[Record]) -> None:
        """Book records, in order within each partition; those that were booked before change nothing."""
        for partition in sorted({record.partition for record in records}):
            batch = [record for record in records if record.partition == partition]
            try:
                await self._book_batch(batch)
            except _REFUSED:
                await self._book_one_by_one(batch)
            else:
                self._refused_run = 0

    async def _book_one_by_one(self, records: Sequence[Record]) -> None:
        """Find the record that the database refuses, set it aside and book the others.

        Raises:
            BooksRefuse: When one record after another is refused: a fault of ours must not empty the stream.
        """
        for record in records:
            try:
                await self._book_batch([record])
            except _REFUSED as error:
                reason = f"{type(error).__name__}: {error}"
                if self._refused_run >= self._refused_run_max:
                    raise BooksRefuse(record_count=self._refused_run + 1, reason=reason) from error
                self._refused_run += 1
                await self._book_batch([record], refused=reason)
            else:
                self._refused_run = 0

    async def _book_batch(self, records: Sequence[Record], *, refused: str | None = None) -> None:
        decoded: dict[int, ShareColumns | Mark | str] = {}
        for record in records:
            decoded[record.offset] = refused or _decoded(record)
            await _give_way()
        await self._ensure_keys([entry for entry in decoded.values() if not isinstance(entry, str)])
        start_s = self._clock.monotonic_s()
        outcomes: list[_Outcome] = []

        async def apply(connection: Connection, fresh: Sequence[Record]) -> None:
            outcomes.append(await self._apply(connection, fresh, decoded))

        with self._telemetry.spans("shares.book", _trace_parents(decoded.values())):
            is_new = await apply_batch(
                self._pool, schema=storage.SCHEMA, records=records, apply=apply, reached=self._reached
            )
        if is_new:
            self._counters.batch_durations.observe(self._clock.monotonic_s() - start_s)
            self._report(outcomes[-1])

    async def _ensure_keys(self, entries: Sequence[ShareColumns | Mark]) -> None:
        batches = [entry for entry in entries if isinstance(entry, ShareColumns)]
        coins = {entry.coin for entry in entries}
        books = {(batch.coin, who.scheme) for batch in batches for who in batch.submitters}
        workers = {(batch.coin, who.account, who.worker) for batch in batches for who in batch.submitters}
        known = self._keys
        if coins <= known.coins.keys() and books <= known.books.keys() and workers <= known.workers.keys():
            return
        known.limit()

        async def work(connection: Connection) -> Keys:
            return await ensure_keys(connection, self._keys, coins=coins, books=books, workers=workers)

        self._keys = await transact(self._pool, work)

    async def _apply(
        self, connection: Connection, fresh: Sequence[Record], decoded: Mapping[int, ShareColumns | Mark | str]
    ) -> _Outcome:
        entries = [(record, decoded[record.offset]) for record in fresh]
        batches = [entry for _, entry in entries if isinstance(entry, ShareColumns)]
        instances = {entry.instance for _, entry in entries if not isinstance(entry, str)}
        books = {(batch.coin, who.scheme) for batch in batches for who in batch.submitters}
        booking = Booking(
            instances=await storage.load_instances(connection, instances),
            closed_heights=await storage.hold_books(connection, self._keys, books),
        )
        outcome = _Outcome(booking=booking, unfilled=[], poison=[])
        for record, entry in entries:
            _book_entry(outcome, record, entry)
            await _give_way()
        await storage.write_booking(connection, self._keys, booking)
        for record, problem in outcome.poison:
            await storage.write_poison(
                connection,
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                payload=record.payload,
                error=problem,
            )
        last = fresh[-1]
        gaps = [*booking.gaps, *outcome.unfilled]
        coins = {state.instance: state.coin for state in booking.instances.values()}
        await notices.tell_gaps(connection, gaps, coins, time_ms=last.append_time_ms)
        await notices.tell_poison(connection, outcome.poison)
        await storage.save_booked_times(
            connection, topic=last.topic, booked_times_ms={last.partition: last.append_time_ms}
        )
        return outcome

    def _report(self, outcome: _Outcome) -> None:
        booking, counters = outcome.booking, self._counters
        counters.batches_total += 1
        counters.shares_booked_total += booking.share_count
        counters.shares_repeated_total += booking.repeated_count
        counters.shares_late_total += sum(booking.late_counts.values())
        counters.gaps_total += len(booking.gaps) + len(outcome.unfilled)
        counters.records_poison_total += len(outcome.poison)
        for gap in (*booking.gaps, *outcome.unfilled):
            fields = {"instance": gap.instance, "first_seq": gap.first_seq, "last_seq": gap.last_seq}
            log_event(_log, logging.ERROR, "shares missing in the stream", **fields)
        for record, problem in outcome.poison:
            place = {"partition": record.partition, "offset": record.offset}
            log_event(_log, logging.ERROR, "share record set aside", **place, error=problem)
        for coin, count in booking.late_counts.items():
            log_event(_log, logging.WARNING, "late shares booked above their height", coin=coin, share_count=count)


def _trace_parents(entries: Iterable[ShareColumns | Mark | str]) -> Iterator[str]:
    return (parent for entry in entries if isinstance(entry, ShareColumns) for parent in entry.trace_parents)


async def _give_way() -> None:
    """Let other tasks of the process run: catching up must not keep questions waiting for seconds."""
    await asyncio.sleep(0)


def _decoded(record: Record) -> ShareColumns | Mark | str:
    """Return the record's content, or the problem with it."""
    try:
        return decode_record(record.payload)
    except MalformedRecord as error:
        return error.problem


def _book_entry(outcome: _Outcome, record: Record, entry: ShareColumns | Mark | str) -> None:
    try:
        match entry:
            case ShareColumns():
                outcome.booking.add_batch(entry)
            case Mark():
                gap = outcome.booking.add_mark(entry)
                if gap is not None:
                    outcome.unfilled.append(gap)
            case str():
                outcome.poison.append((record, entry))
    except MalformedRecord as error:
        outcome.poison.append((record, error.problem))
