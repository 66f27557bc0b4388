"""Read hashrates, counts and totals of the pool."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from runtime.postgres.pool import Connection
from shares.hashrate import RECENT_MS, WINDOWS, Rates, rates_of

_COUNTS = "accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count"
_SUMS = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _COUNTS.split(", "))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Shares by outcome."""

    accepted: int = 0
    stale: int = 0
    duplicate: int = 0
    low_difficulty: int = 0
    invalid: int = 0

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Counts":
        """Return the counts in a row's five columns."""
        return cls(
            accepted=row["accepted_count"],
            stale=row["stale_count"],
            duplicate=row["duplicate_count"],
            low_difficulty=row["low_difficulty_count"],
            invalid=row["invalid_count"],
        )

    @classmethod
    def sum_of(cls, rows: Sequence[asyncpg.Record]) -> "Counts":
        """Return the sums of the counts in rows."""
        return cls(
            accepted=sum(row["accepted_count"] for row in rows),
            stale=sum(row["stale_count"] for row in rows),
            duplicate=sum(row["duplicate_count"] for row in rows),
            low_difficulty=sum(row["low_difficulty_count"] for row in rows),
            invalid=sum(row["invalid_count"] for row in rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """The pool at this moment; times in milliseconds since the Unix epoch, zero when there was no share."""

    rates: Rates
    counts: Counts
    round_work: int
    best_hash_work: int
    best_account: str
    account_count: int
    worker_count: int
    last_share_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the slices, removed ones included, beside sums over the instances."""

    slices: Counts
    slices_work: int
    instances: Counts
    instances_work: int
    late_share_count: int


async def pool_stats(connection: Connection, *, coin: str, round_start_height: int, now_ms: int) -> PoolStats:
    """Return the pool's statistics; zeros for a coin without shares.

    Args:
        connection: Any.
        coin: Coin id.
        round_start_height: The round's work is summed over greater heights; zero for all.
        now_ms: The time, milliseconds since the Unix epoch.
    """
    row = await connection.fetchrow(
        f"""
        SELECT coin.coin_key, coin.first_share_time_ms, coin.last_share_time_ms, coin.best_hash_work,
            {", ".join(f"coin.{name}" for name in _COUNTS.split(", "))}, coalesce(account.account, '') AS best_account
        FROM shares.coin
        LEFT JOIN shares.worker ON worker.worker_id = coin.best_worker_id
        LEFT JOIN shares.account ON account.account_id = worker.account_id
        WHERE coin.coin = $1
        """,
        coin,
    )
    if row is None:
        nothing = (0,) * len(WINDOWS)
        return PoolStats(
            rates=nothing,
            counts=Counts(),
            round_work=0,
            best_hash_work=0,
            best_account="",
            account_count=0,
            worker_count=0,
            last_share_time_ms=0,
        )
    recent = await connection.fetchrow(
        """
        SELECT count(*) AS workers, count(DISTINCT worker.account_id) AS accounts
        FROM shares.worker JOIN shares.account USING (account_id)
        WHERE account.coin_key = $1 AND worker.last_share_time_ms > $2
        """,
        row["coin_key"],
        now_ms - RECENT_MS,
    )
    round_work = await connection.fetchval(
        "SELECT coalesce(sum(work), 0)::text FROM shares.pool_slice WHERE coin_key = $1 AND (height > $2 OR $2 = 0)",
        row["coin_key"],
        round_start_height,
    )
    return PoolStats(
        rates=await _pool_rates(connection, row, now_ms),
        counts=Counts.of(row),
        round_work=int(round_work),
        best_hash_work=row["best_hash_work"],
        best_account=row["best_account"],
        account_count=recent["accounts"] if recent else 0,
        worker_count=recent["workers"] if recent else 0,
        last_share_time_ms=row["last_share_time_ms"],
    )


async def totals(connection: Connection, *, coin: str) -> Totals:
    """Return the coin's sums.

    Args:
        connection: Inside a repeatable read transaction, so that both sides are of one moment.
        coin: Coin id.
    """
    slices = await connection.fetchrow(
        f"""
        SELECT coalesce(sum(work), 0)::text AS work, {_SUMS} FROM (
            SELECT coin_key, work, {_COUNTS} FROM shares.pool_slice
            UNION ALL
            SELECT coin_key, work, {_COUNTS} FROM shares.pruned
        ) AS booked
        WHERE coin_key = (SELECT coin_key FROM shares.coin WHERE coin = $1)
        """,
        coin,
    )
    instances = await connection.fetchrow(
        f"""
        SELECT coalesce(sum(work), 0)::text AS work, {_SUMS} FROM shares.instance
        WHERE coin_key = (SELECT coin_key FROM shares.coin WHERE coin = $1)
        """,
        coin,
    )
    late = await connection.fetchval("SELECT late_share_count FROM shares.coin WHERE coin = $1", coin)
    if slices is None or instances is None:
        raise AssertionError("an aggregate has one row")
    return Totals(
        slices=Counts.of(slices),
        slices_work=int(slices["work"]),
        instances=Counts.of(instances),
        instances_work=int(instances["work"]),
        late_share_count=late or 0,
    )


async def _pool_rates(connection: Connection, coin: asyncpg.Record, now_ms: int) -> Rates:
    starts = [window.start_minute(now_ms) for window in WINDOWS]
    sums = ", ".join(f"coalesce(sum(work) FILTER (WHERE minute >= ${i}), 0)::text" for i in range(3, 3 + len(starts)))
    row = await connection.fetchrow(
        f"SELECT {sums} FROM shares.pool_slice WHERE coin_key = $1 AND minute >= $2",
        coin["coin_key"],
        min(starts),
        *starts,
    )
    works = [int(value) for value in row.values()] if row else [0] * len(WINDOWS)
    return rates_of(works, now_ms=now_ms, first_share_ms=coin["first_share_time_ms"])
