"""Roll the slices up into histories, and read them. A step that is not over yet is read from the slices themselves."""

import itertools
from dataclasses import dataclass

import asyncpg

from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from shares.domain import MINUTE_MS
from shares.history_span import KEPT_BUCKETS, LATE_BUCKETS, ROLL_MIN, SPANS, STEPS, Window, step_hps

ROLL_AFTER_MS = 20_000
"""A span is rolled up this long after its end: most of what was still under way has come by then."""
_ROLLS_MAX = 20
_ANALYZE_S_MAX = 60.0
_LOCK_KEY = 0x68697374
"""Of the advisory lock under which one process rolls up: "hist"."""
REJECTED = "stale_count + duplicate_count + low_difficulty_count + invalid_count"
_SUMS = f"""
    sum(work)::text AS work, sum(accepted_count)::bigint AS accepted, sum({REJECTED})::bigint AS rejected
    """

_ROLL = f"""
WITH heights AS (
    SELECT min(height) AS low, max(height) AS high FROM shares.pool_slice
    WHERE coin_key = $1 AND minute >= $2::integer * {ROLL_MIN} AND minute < ($2::integer + 1) * {ROLL_MIN}
), booked AS MATERIALIZED (
    SELECT slice.* FROM heights, shares.slice
    WHERE coin_key = $1 AND height BETWEEN low AND high
        AND minute >= $2::integer * {ROLL_MIN} AND minute < ($2::integer + 1) * {ROLL_MIN}
), found AS MATERIALIZED (
    SELECT account_id, worker_id, sum(work) AS work, sum(accepted_count)::bigint AS accepted,
        sum({REJECTED})::bigint AS rejected, (sum(accepted_count) > 0)::integer AS workers
    FROM booked GROUP BY account_id, worker_id
), sums AS (
    SELECT account_id, worker_id, work, accepted, rejected, workers FROM found
    UNION ALL
    SELECT account_id, 0, sum(work), sum(accepted), sum(rejected), sum(workers) FROM found GROUP BY account_id
    UNION ALL
    SELECT 0, 0, sum(work), sum(accepted), sum(rejected), sum(workers) FROM found HAVING count(*) > 0
), news AS MATERIALIZED (
    SELECT sums.account_id, sums.worker_id, sums.workers, sums.work - coalesce(old.work, 0) AS work,
        sums.accepted - coalesce(old.accepted_count, 0) AS accepted,
        sums.rejected - coalesce(old.rejected_count, 0) AS rejected
    FROM sums LEFT JOIN shares.history AS old ON old.coin_key = $1 AND old.account_id = sums.account_id
        AND old.worker_id = sums.worker_id AND old.span_min = {ROLL_MIN} AND old.bucket = $2
), rejects AS (
    INSERT INTO shares.last_reject AS old (worker_id, minute, reason)
    SELECT DISTINCT ON (worker_id) worker_id, minute, {{reason}} FROM booked WHERE {REJECTED} > 0
    ORDER BY worker_id, minute DESC
    ON CONFLICT (worker_id) DO UPDATE SET minute = excluded.minute, reason = excluded.reason
        WHERE excluded.minute >= old.minute
)
INSERT INTO shares.history AS old (
    coin_key, account_id, worker_id, span_min, bucket, work, accepted_count, rejected_count, worker_count
)
SELECT $1, account_id, worker_id, span, $2::integer * {ROLL_MIN} / span, work, accepted, rejected, workers
FROM news, unnest($3::smallint[]) AS span
WHERE (work, accepted, rejected) <> (0, 0, 0) OR span = {ROLL_MIN}
ORDER BY account_id, worker_id, span
ON CONFLICT (coin_key, account_id, worker_id, span_min, bucket) DO UPDATE SET
    work = old.work + excluded.work,
    accepted_count = old.accepted_count + excluded.accepted_count,
    rejected_count = old.rejected_count + excluded.rejected_count,
    worker_count = greatest(old.worker_count, excluded.worker_count)
"""
REASON = """
CASE greatest(stale_count, duplicate_count, low_difficulty_count, invalid_count)
    WHEN stale_count THEN 'stale' WHEN low_difficulty_count THEN 'low_difficulty'
    WHEN duplicate_count THEN 'duplicate' ELSE 'invalid'
END
"""
NEWEST = f"""
    SELECT max(rolled.bucket + 0) FROM shares.history AS rolled
    WHERE rolled.coin_key = account.coin_key AND rolled.account_id = 0 AND rolled.worker_id = 0
        AND rolled.span_min = {ROLL_MIN}
    """
"""The newest rolled bucket of the coin of `account`, as SQL.

A sum is no column: otherwise the index over all subjects is walked backwards to find the pool's own rows.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One step of a history.

    Attributes:
        time_ms: Its begin, milliseconds since the Unix epoch.
        work: Accepted work.
        hps: Average hashrate, hashes per second.
        accepted: Accepted shares.
        rejected: Rejected shares.
        worker_count: Most workers that mined in one of its ten-minute spans; None while none of them is over.
    """

    time_ms: int
    work: int
    hps: int
    accepted: int
    rejected: int
    worker_count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whose history: ids are 0 for all accounts and for all workers of an account.

    Attributes:
        coin_key: The coin.
        account_id: The account.
        worker_id: The worker.
        first_share_ms: Time of the pool's first share; 0 before it.
    """

    coin_key: int
    account_id: int = 0
    worker_id: int = 0
    first_share_ms: int


async def roll(pool: Pool, *, now_ms: int) -> int:
    """Roll up spans that are over and not rolled, or that have got late shares since; return how many.

    Each span is one transaction. What a repetition finds is only what is new (so that nothing counts twice).
    """
    count = 0
    current = (now_ms - ROLL_AFTER_MS) // MINUTE_MS // ROLL_MIN
    async with acquired(pool) as connection:
        coin_keys = [row["coin_key"] for row in await connection.fetch("SELECT coin_key FROM shares.coin")]
    for coin_key in coin_keys:
        for batch_number in itertools.count(1):
            async with acquired(pool) as connection:
                buckets = await _buckets_to_roll(connection, coin_key, current=current)
            for bucket in buckets:
                await _roll_bucket(pool, coin_key, bucket)
                count += 1
            # Also between: a first roll-up of all that retention has kept would fill the disk with short spans.
            async with acquired(pool) as connection:
                await _prune(connection, coin_key)
                if len(buckets) < _ROLLS_MAX:
                    break
                if batch_number & (batch_number - 1) == 0:
                    # A table that was empty a moment ago is read from end to end until the planner knows better.
                    await connection.execute("ANALYZE shares.history", timeout=_ANALYZE_S_MAX)
    return count


def first_live_minute(newest_bucket: int | None) -> int:
    """Return the first minute that is not rolled up, by the newest bucket that is (`NEWEST`)."""
    return 0 if newest_bucket is None else (newest_bucket + 1) * ROLL_MIN


async def find_subject(connection: Connection, *, coin: str, account: str, worker: str | None) -> Subject | None:
    """Return whose history is asked for, None when the account or the worker has never mined here.

    A coin without shares has an empty history.

    Args:
        connection: Any.
        coin: Coin id.
        account: Empty for the whole pool.
        worker: None for all of the account's.
    """
    row = await connection.fetchrow(
        """
        SELECT coin.coin_key, coin.first_share_time_ms, account.account_id, worker.worker_id FROM shares.coin
        LEFT JOIN shares.account ON account.coin_key = coin.coin_key AND account.account = $2
        LEFT JOIN shares.worker ON worker.account_id = account.account_id AND worker.worker = $3
        WHERE coin.coin = $1
        """,
        coin,
        account,
        worker,
    )
    if row is None:
        return None if account else Subject(coin_key=0, first_share_ms=0)
    coin_key, first_share_ms, account_id, worker_id = row
    if (account and account_id is None) or (worker is not None and worker_id is None):
        return None
    return Subject(
        coin_key=coin_key, account_id=account_id or 0, worker_id=worker_id or 0, first_share_ms=first_share_ms
    )


async def read(connection: Connection, subject: Subject, *, window: Window, now_ms: int) -> list[Point]:
    """Return the steps of a history, oldest first, without gaps."""
    if not subject.first_share_ms:
        return []
    steps = STEPS[window]
    start = steps.start_bucket(now_ms, first_share_ms=subject.first_share_ms)
    rows = await _rows(connection, subject, span_min=steps.span_min, start_bucket=start)
    points = []
    for bucket in range(start, now_ms // MINUTE_MS // steps.span_min + 1):
        work, accepted, rejected, worker_count = rows.get(bucket, (0, 0, 0, None))
        hps = step_hps(
            work, bucket=bucket, span_min=steps.span_min, now_ms=now_ms, first_share_ms=subject.first_share_ms
        )
        points.append(
            Point(
                time_ms=bucket * steps.span_min * MINUTE_MS,
                work=work,
                hps=hps,
                accepted=accepted,
                rejected=rejected,
                worker_count=worker_count,
            )
        )
    return points


_Row = tuple[int, int, int, int | None]
"""Work, accepted, rejected, workers."""


async def _rows(connection: Connection, subject: Subject, *, span_min: int, start_bucket: int) -> dict[int, _Row]:
    """Return the sums by bucket: rolled ones, and what was booked since from the slices."""
    rolled = await connection.fetch(
        f"""
        SELECT bucket, work::text AS work, accepted_count AS accepted, rejected_count AS rejected, worker_count,
            ({NEWEST}) AS newest_bucket
        FROM (SELECT $1::smallint AS coin_key) AS account LEFT JOIN shares.history
            ON history.coin_key = account.coin_key AND account_id = $2 AND worker_id = $3 AND span_min = $4
                AND bucket >= $5
        """,
        subject.coin_key,
        subject.account_id,
        subject.worker_id,
        span_min,
        start_bucket,
    )
    rows: dict[int, _Row] = {
        row["bucket"]: (int(row["work"]), row["accepted"], row["rejected"], row["worker_count"])
        for row in rolled
        if row["bucket"] is not None
    }
    from_minute = max(first_live_minute(rolled[0]["newest_bucket"]), start_bucket * span_min)
    for row in await _live_sums(connection, subject, span_min=span_min, from_minute=from_minute):
        work, accepted, rejected, workers = rows.get(row["bucket"], (0, 0, 0, None))
        rows[row["bucket"]] = work + int(row["work"]), accepted + row["accepted"], rejected + row["rejected"], workers
    return rows


async def _live_sums(
    connection: Connection, subject: Subject, *, span_min: int, from_minute: int
) -> list[asyncpg.Record]:
    """Return sums of slices by bucket; slices are found by account and height, as minutes have no index of theirs.

    The least height is asked for as a sum, here and in the other queries like it: a plan made without knowing the
    numbers would otherwise walk through all heights to find the first with such a minute.
    """
    if not subject.account_id:
        query = f"""
            SELECT minute / $3::integer AS bucket, {_SUMS} FROM shares.pool_slice
            WHERE coin_key = $1 AND minute >= $2 GROUP BY 1
            """
        return await connection.fetch(query, subject.coin_key, from_minute, span_min)
    return await connection.fetch(
        f"""
        SELECT minute / $3::integer AS bucket, {_SUMS} FROM shares.slice
        WHERE account_id = $4 AND minute >= $2 AND ($5 = 0 OR worker_id = $5)
            AND height >= (SELECT min(height + 0) FROM shares.pool_slice WHERE coin_key = $1 AND minute >= $2)
        GROUP BY 1
        """,
        subject.coin_key,
        from_minute,
        span_min,
        subject.account_id,
        subject.worker_id,
    )


async def _newest_bucket(connection: Connection, coin_key: int) -> int | None:
    newest: int | None = await connection.fetchval(
        f"SELECT ({NEWEST}) FROM (SELECT $1::smallint AS coin_key) AS account", coin_key
    )
    return newest


async def _buckets_to_roll(connection: Connection, coin_key: int, *, current: int) -> list[int]:
    """Return spans before `current` whose rolled counts are not those of the slices, oldest first, some at a time."""
    newest = await _newest_bucket(connection, coin_key)
    horizon = 0 if newest is None else newest - LATE_BUCKETS
    rows = await connection.fetch(
        f"""
        SELECT booked.bucket FROM (
            SELECT minute / {ROLL_MIN} AS bucket, sum(accepted_count) AS accepted, sum({REJECTED}) AS rejected
            FROM shares.pool_slice WHERE coin_key = $1 AND minute >= $2 AND minute < $3 GROUP BY 1
        ) AS booked
        LEFT JOIN shares.history ON history.coin_key = $1 AND history.account_id = 0 AND history.worker_id = 0
            AND history.span_min = {ROLL_MIN} AND history.bucket = booked.bucket
        WHERE history.bucket IS NULL OR booked.accepted > history.accepted_count
            OR booked.rejected > history.rejected_count
        ORDER BY booked.bucket LIMIT {_ROLLS_MAX}
        """,
        coin_key,
        horizon * ROLL_MIN,
        current * ROLL_MIN,
    )
    return [row["bucket"] for row in rows]


async def _roll_bucket(pool: Pool, coin_key: int, bucket: int) -> None:
    async def work(connection: Connection) -> None:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
        await connection.execute(_ROLL.format(reason=REASON), coin_key, bucket, list(SPANS))

    await transact(pool, work)


async def _prune(connection: Connection, coin_key: int) -> None:
    newest = await _newest_bucket(connection, coin_key)
    if newest is None:
        return
    for span, kept in KEPT_BUCKETS.items():
        query = "DELETE FROM shares.history WHERE coin_key = $1 AND span_min = $2 AND bucket < $3"
        await connection.execute(query, coin_key, span, newest * ROLL_MIN // span - kept)
