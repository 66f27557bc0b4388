"""Write what the stream has brought: slices, their sums, instances. SQL of the consumer."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

import asyncpg

from runtime.postgres.pool import Connection
from shares.domain import (
    BEST,
    LAST_TIME,
    WORK,
    Booking,
    Gap,
    InstanceState,
    SliceKey,
    SliceSum,
    counts_of,
    pool_sums,
    tally_sums,
    worker_sums,
)
from shares.hashrate import Span
from shares.keys import Keys

SCHEMA = "shares"

WorkerKey: TypeAlias = tuple[str, str, str]
"""coin, account, worker."""

_INSTANCE_COLUMNS = """
    instance.instance, coin.coin, instance.last_seq, instance.seen_time_ms, instance.mark_seq, instance.mark_height,
    instance.mark_time_ms, instance.is_closed, instance.work::text AS work, instance.accepted_count,
    instance.stale_count, instance.duplicate_count, instance.low_difficulty_count, instance.invalid_count
"""


async def load_instances(connection: Connection, instances: Collection[str]) -> dict[str, InstanceState]:
    """Return the state of those instances that are known, held until the transaction ends."""
    rows = await connection.fetch(
        f"""
        SELECT {_INSTANCE_COLUMNS} FROM shares.instance JOIN shares.coin USING (coin_key)
        WHERE instance.instance = ANY($1::text[]) ORDER BY instance.instance FOR UPDATE OF instance
        """,
        sorted(instances),
    )
    return {row["instance"]: _instance(row) for row in rows}


async def list_instances(
    connection: Connection, coin: str, *, after: str = "", limit: int | None = None
) -> list[InstanceState]:
    """Return the coin's instances by name: those behind `after`, at most `limit`; None means all of them."""
    rows = await connection.fetch(
        f"""
        SELECT {_INSTANCE_COLUMNS} FROM shares.instance JOIN shares.coin USING (coin_key)
        WHERE coin.coin = $1 AND instance.instance > $2 ORDER BY instance.instance LIMIT $3
        """,
        coin,
        after,
        limit,
    )
    return [_instance(row) for row in rows]


def _instance(row: asyncpg.Record) -> InstanceState:
    def number(name: str) -> int:
        return int(str(row[name]))

    return InstanceState(
        instance=str(row["instance"]),
        coin=str(row["coin"]),
        last_seq=number("last_seq"),
        seen_time_ms=number("seen_time_ms"),
        mark_seq=number("mark_seq"),
        mark_height=number("mark_height"),
        mark_time_ms=number("mark_time_ms"),
        is_closed=bool(row["is_closed"]),
        work=number("work"),
        counts=[
            number("accepted_count"),
            number("stale_count"),
            number("duplicate_count"),
            number("low_difficulty_count"),
            number("invalid_count"),
        ],
    )


async def hold_books(
    connection: Connection, keys: Keys, books: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the closed height of each (coin, scheme); none of them is closed further until the transaction ends."""
    by_id = {keys.books[book]: book for book in books}
    query = """
        SELECT book_id, closed_height FROM shares.book WHERE book_id = ANY($1::smallint[]) ORDER BY book_id FOR SHARE
        """
    rows = await connection.fetch(query, sorted(by_id))
    return {by_id[row["book_id"]]: int(row["closed_height"]) for row in rows}


async def write_booking(connection: Connection, keys: Keys, booking: Booking) -> None:
    """Write all effects of a booking.

    Consumers of other partitions write at the same time: all take the tables in this order, and the rows of a table in
    the order of its key, so that they cannot wait for one another in a circle. What they have in common, the pool's
    sums and the coin's, comes last and is held for the shortest time.
    """
    await _write_instances(connection, keys, booking.instances.values())
    await _write_gaps(connection, booking.gaps)
    if not booking.slices:
        return
    sums = worker_sums(booking.slices)
    await _write_slices(connection, keys, booking.slices)
    for span in (Span.TEN_MINUTES, Span.HOUR):
        await _write_tallies(connection, keys, booking.slices, span)
    await _write_workers(connection, keys, sums)
    await _write_pool_slices(connection, keys, booking.slices)
    await _write_coins(connection, keys, booking, sums)


async def _write_slices(connection: Connection, keys: Keys, slices: Mapping[SliceKey, SliceSum]) -> None:
    rows = [
        (
            keys.coins[coin],
            height,
            minute,
            keys.workers[coin, account, worker],
            keys.books[coin, scheme],
            keys.accounts[coin, account],
            str(found[WORK]),
            *counts_of(found),
            found[BEST],
        )
        for (coin, scheme, account, worker, height, minute), found in slices.items()
    ]
    rows.sort(key=lambda row: row[:5])
    await connection.execute(
        """
        INSERT INTO shares.slice AS old (
            coin_key, height, minute, worker_id, book_id, account_id, work,
            accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count, best_hash_work
        )
        SELECT
            coin_key, height, minute, worker_id, book_id, account_id, work::numeric,
            accepted, stale, duplicate, low_difficulty, invalid, best
        FROM unnest(
            $1::smallint[], $2::bigint[], $3::integer[], $4::integer[], $5::smallint[], $6::integer[], $7::text[],
            $8::bigint[], $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::bigint[]
        ) AS new(
            coin_key, height, minute, worker_id, book_id, account_id, work,
            accepted, stale, duplicate, low_difficulty, invalid, best
        )
        ON CONFLICT (coin_key, height, minute, worker_id, book_id) DO UPDATE SET
            work = old.work + excluded.work,
            accepted_count = old.accepted_count + excluded.accepted_count,
            stale_count = old.stale_count + excluded.stale_count,
            duplicate_count = old.duplicate_count + excluded.duplicate_count,
            low_difficulty_count = old.low_difficulty_count + excluded.low_difficulty_count,
            invalid_count = old.invalid_count + excluded.invalid_count,
            best_hash_work = greatest(old.best_hash_work, excluded.best_hash_work)
        """,
        *_columns(rows),
    )


async def _write_pool_slices(connection: Connection, keys: Keys, slices: Mapping[SliceKey, SliceSum]) -> None:
    rows = [
        (keys.books[coin, scheme], keys.coins[coin], height, minute, str(found[WORK]), *counts_of(found))
        for (coin, scheme, height, minute), found in sorted(pool_sums(slices).items())
    ]
    await connection.execute(
        """
        INSERT INTO shares.pool_slice AS old (
            book_id, coin_key, height, minute, work,
            accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count
        )
        SELECT book_id, coin_key, height, minute, work::numeric, accepted, stale, duplicate, low_difficulty, invalid
        FROM unnest(
            $1::smallint[], $2::smallint[], $3::bigint[], $4::integer[], $5::text[],
            $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[]
        ) AS new(book_id, coin_key, height, minute, work, accepted, stale, duplicate, low_difficulty, invalid)
        ON CONFLICT (book_id, height, minute) DO UPDATE SET
            work = old.work + excluded.work,
            accepted_count = old.accepted_count + excluded.accepted_count,
            stale_count = old.stale_count + excluded.stale_count,
            duplicate_count = old.duplicate_count + excluded.duplicate_count,
            low_difficulty_count = old.low_difficulty_count + excluded.low_difficulty_count,
            invalid_count = old.invalid_count + excluded.invalid_count
        """,
        *_columns(rows),
    )


async def _write_tallies(connection: Connection, keys: Keys, slices: Mapping[SliceKey, SliceSum], span: Span) -> None:
    rows = sorted(
        (keys.workers[coin, account, worker], int(span), bucket, str(work))
        for (coin, account, worker, bucket), work in tally_sums(slices, span).items()
    )
    if rows:
        await connection.execute(
            """
            INSERT INTO shares.tally AS old (worker_id, span_min, bucket, work)
            SELECT worker_id, span_min, bucket, work::numeric
            FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::text[])
                AS new(worker_id, span_min, bucket, work)
            ON CONFLICT (worker_id, span_min, bucket) DO UPDATE SET work = old.work + excluded.work
            """,
            *_columns(rows),
        )


async def _write_workers(connection: Connection, keys: Keys, sums: Mapping[WorkerKey, SliceSum]) -> None:
    """Add to the totals of workers."""
    rows = sorted(
        (keys.workers[key], str(found[WORK]), *counts_of(found), found[BEST], found[LAST_TIME])
        for key, found in sums.items()
    )
    await connection.execute(
        """
        WITH held AS (
            SELECT worker_id FROM shares.worker WHERE worker_id = ANY($1::integer[])
            ORDER BY worker_id FOR NO KEY UPDATE
        )
        UPDATE shares.worker AS old SET
            work = old.work + new.work::numeric,
            accepted_count = old.accepted_count + accepted,
            stale_count = old.stale_count + stale,
            duplicate_count = old.duplicate_count + duplicate,
            low_difficulty_count = old.low_difficulty_count + low_difficulty,
            invalid_count = old.invalid_count + invalid,
            best_hash_work = greatest(old.best_hash_work, best),
            last_share_time_ms = greatest(old.last_share_time_ms, last_time_ms)
        FROM unnest(
            $1::integer[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::bigint[]
        ) AS new(worker_id, work, accepted, stale, duplicate, low_difficulty, invalid, best, last_time_ms)
        JOIN held USING (worker_id)
        WHERE old.worker_id = new.worker_id
        """,
        *_columns(rows),
    )


async def _write_coins(
    connection: Connection, keys: Keys, booking: Booking, sums: Mapping[WorkerKey, SliceSum]
) -> None:
    """Add to the totals of coins."""
    for coin in sorted({coin for coin, _, _ in sums}):
        owned = {key: found for key, found in sums.items() if key[0] == coin}
        found = [sum(column) for column in zip(*owned.values(), strict=True)]
        best = max(owned, key=lambda key: owned[key][BEST])
        last_time_ms = max(entry[LAST_TIME] for entry in owned.values())
        times_ms = (entry[LAST_TIME] for key, entry in booking.slices.items() if key[0] == coin and entry[LAST_TIME])
        first_time_ms = min(times_ms, default=0)
        await connection.execute(
            """
            UPDATE shares.coin SET
                work = work + $2::text::numeric,
                accepted_count = accepted_count + $3,
                stale_count = stale_count + $4,
                duplicate_count = duplicate_count + $5,
                low_difficulty_count = low_difficulty_count + $6,
                invalid_count = invalid_count + $7,
                late_share_count = late_share_count + $8,
                best_worker_id = CASE WHEN $9 > best_hash_work THEN $10 ELSE best_worker_id END,
                best_hash_work = greatest(best_hash_work, $9),
                last_share_time_ms = greatest(last_share_time_ms, $11),
                first_share_time_ms = coalesce(least(nullif(first_share_time_ms, 0), nullif($12::bigint, 0)), 0)
            WHERE coin_key = $1
            """,
            keys.coins[coin],
            str(found[WORK]),
            *counts_of(found),
            booking.late_counts.get(coin, 0),
            owned[best][BEST],
            keys.workers[best],
            last_time_ms,
            first_time_ms,
        )


async def _write_instances(connection: Connection, keys: Keys, instances: Iterable[InstanceState]) -> None:
    rows = sorted(
        (
            state.instance,
            keys.coins[state.coin],
            state.last_seq,
            state.seen_time_ms,
            state.mark_seq,
            state.mark_height,
            state.mark_time_ms,
            state.is_closed,
            str(state.work),
            *state.counts,
        )
        for state in instances
    )
    if rows:
        await connection.execute(
            """
            INSERT INTO shares.instance (
                instance, coin_key, last_seq, seen_time_ms, mark_seq, mark_height, mark_time_ms, is_closed, work,
                accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count
            )
            SELECT
                instance, coin_key, last_seq, seen_time_ms, mark_seq, mark_height, mark_time_ms, is_closed,
                work::numeric, accepted, stale, duplicate, low_difficulty, invalid
            FROM unnest(
                $1::text[], $2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                $8::boolean[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[]
            ) AS new(
                instance, coin_key, last_seq, seen_time_ms, mark_seq, mark_height, mark_time_ms, is_closed, work,
                accepted, stale, duplicate, low_difficulty, invalid
            )
            ON CONFLICT (instance) DO UPDATE SET
                last_seq = excluded.last_seq,
                seen_time_ms = excluded.seen_time_ms,
                mark_seq = excluded.mark_seq,
                mark_height = excluded.mark_height,
                mark_time_ms = excluded.mark_time_ms,
                is_closed = excluded.is_closed,
                work = excluded.work,
                accepted_count = excluded.accepted_count,
                stale_count = excluded.stale_count,
                duplicate_count = excluded.duplicate_count,
                low_difficulty_count = excluded.low_difficulty_count,
                invalid_count = excluded.invalid_count
            """,
            *_columns(rows),
        )


async def _write_gaps(connection: Connection, gaps: Sequence[Gap]) -> None:
    if gaps:
        await connection.execute(
            """
            INSERT INTO shares.gap (instance, first_seq, last_seq)
            SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
            """,
            [gap.instance for gap in gaps],
            [gap.first_seq for gap in gaps],
            [gap.last_seq for gap in gaps],
        )


async def write_poison(
    connection: Connection, *, topic: str, partition: int, offset: int, payload: bytes, error: str
) -> None:
    """Set a record aside for the operator."""
    await connection.execute(
        """
        INSERT INTO shares.poison (topic, partition, log_offset, payload, error) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING
        """,
        topic,
        partition,
        offset,
        payload,
        error.replace("\x00", "�"),
    )


async def ensure_positions(connection: Connection, *, topic: str, partition_count: int) -> None:
    """Make the position of each partition that has none: nothing is booked."""
    await connection.execute(
        """
        INSERT INTO shares.position (topic, partition, next_offset)
        SELECT $1, partition, 0 FROM generate_series(0, $2::integer - 1) AS partition
        ON CONFLICT DO NOTHING
        """,
        topic,
        partition_count,
    )


async def save_booked_times(connection: Connection, *, topic: str, booked_times_ms: Mapping[int, int]) -> None:
    """Note by partition that everything the log took before a time is booked; a time never goes back."""
    await connection.execute(
        """
        WITH held AS (
            SELECT new.partition, new.time_ms
            FROM unnest($2::integer[], $3::bigint[]) AS new(partition, time_ms)
            JOIN shares.position USING (partition)
            WHERE position.topic = $1 AND position.booked_time_ms < new.time_ms
            ORDER BY new.partition FOR NO KEY UPDATE OF position
        )
        UPDATE shares.position SET booked_time_ms = held.time_ms
        FROM held WHERE position.topic = $1 AND position.partition = held.partition
            AND position.booked_time_ms < held.time_ms
        """,
        topic,
        list(booked_times_ms),
        list(booked_times_ms.values()),
    )


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
