"""Remove what has become old, without losing its sums."""

from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from shares.hashrate import Span, tally_starts

_GROUPS_MAX = 20


async def prune(pool: Pool, *, keep_days: int, now_ms: int) -> int:
    """Remove slices older than `keep_days` days and tallies that no hashrate needs; return the number of slices.

    Works in small transactions; each moves the sums of what it removes into shares.pruned.
    """
    before_minute = now_ms // 60_000 - keep_days * 1440
    removed = 0

    async def work(connection: Connection) -> tuple[int, int]:
        return await _prune_slices(connection, before_minute=before_minute)

    while True:
        group_count, slice_count = await transact(pool, work)
        removed += slice_count
        if group_count < _GROUPS_MAX:
            break
    starts = tally_starts(now_ms)
    async with acquired(pool) as connection:
        for span in (Span.TEN_MINUTES, Span.HOUR):
            await connection.execute(
                "DELETE FROM shares.tally WHERE span_min = $1 AND bucket < $2", int(span), starts[span]
            )
    return removed


async def _prune_slices(connection: Connection, *, before_minute: int) -> tuple[int, int]:
    row = await connection.fetchrow(
        """
        WITH old AS (
            SELECT book_id, height, minute FROM shares.pool_slice
            WHERE minute < $1 ORDER BY book_id, height, minute LIMIT $2
        ), pools AS (
            DELETE FROM shares.pool_slice USING old
            WHERE (pool_slice.book_id, pool_slice.height, pool_slice.minute) = (old.book_id, old.height, old.minute)
            RETURNING pool_slice.*
        ), slices AS (
            DELETE FROM shares.slice USING pools
            WHERE (slice.coin_key, slice.height, slice.minute) = (pools.coin_key, pools.height, pools.minute)
                AND slice.book_id = pools.book_id
            RETURNING slice.*
        ), kept AS (
            INSERT INTO shares.pruned AS old (
                coin_key, start_minute, work,
                accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count
            )
            SELECT coin_key, $1, sum(work), sum(accepted_count), sum(stale_count), sum(duplicate_count),
                sum(low_difficulty_count), sum(invalid_count)
            FROM slices GROUP BY coin_key
            ON CONFLICT (coin_key) DO UPDATE SET
                start_minute = greatest(old.start_minute, excluded.start_minute),
                work = old.work + excluded.work,
                accepted_count = old.accepted_count + excluded.accepted_count,
                stale_count = old.stale_count + excluded.stale_count,
                duplicate_count = old.duplicate_count + excluded.duplicate_count,
                low_difficulty_count = old.low_difficulty_count + excluded.low_difficulty_count,
                invalid_count = old.invalid_count + excluded.invalid_count
        )
        SELECT (SELECT count(*) FROM pools) AS pools, (SELECT count(*) FROM slices) AS slices
        """,
        before_minute,
        _GROUPS_MAX,
    )
    return (0, 0) if row is None else (row["pools"], row["slices"])
