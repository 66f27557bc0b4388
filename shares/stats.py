"""Read hashrates, counts and totals of the pool, its accounts and workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from runtime.postgres.pool import Connection
from shares.hashrate import RECENT_MS, WINDOWS, Span, tally_starts
from shares.leaders import Order, Ranked

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


_AccountRow = asyncpg.Record | Mapping[str, Any]
"""A row with account_id, account and coin_key."""
Rates = tuple[int, ...]
"""Hashes per second in the order of `hashrate.WINDOWS`."""


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
class WorkerStats:
    """One worker at this moment."""

    worker: str
    rates: Rates
    counts: Counts
    last_share_time_ms: int
    best_hash_work: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStats:
    """One account at this moment; `workers` by name, empty where they were not asked for."""

    account: str
    rates: Rates
    counts: Counts
    best_hash_work: int
    total_work: int
    workers: tuple[WorkerStats, ...] = ()


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


async def account_stats(connection: Connection, *, coin: str, account: str, now_ms: int) -> AccountStats | None:
    """Return an account's statistics with its workers, None when it has never mined here."""
    row = await connection.fetchrow(
        """
        SELECT account.account_id, account.account, coin.coin_key, coin.first_share_time_ms
        FROM shares.account JOIN shares.coin USING (coin_key) WHERE coin.coin = $1 AND account.account = $2
        """,
        coin,
        account,
    )
    if row is None:
        return None
    found = await _accounts(connection, [row], now_ms=now_ms, first_share_ms=row["first_share_time_ms"])
    return found[0]


async def ranked_accounts(connection: Connection, order: Order, page: Sequence[Ranked]) -> list[AccountStats]:
    """Return the statistics of a page of accounts, without their workers.

    Args:
        connection: Any.
        order: The order the page is from; the hashrates are of its moment.
        page: The accounts.
    """
    if not page:
        return []
    rows = [{"account_id": entry.account_id, "account": entry.account, "coin_key": order.coin_key} for entry in page]
    found = await _accounts(connection, rows, now_ms=order.made_ms, first_share_ms=order.first_share_ms)
    return [replace(entry, workers=()) for entry in found]


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
    return _rates(works, now_ms=now_ms, first_share_ms=coin["first_share_time_ms"])


async def _accounts(
    connection: Connection, accounts: Sequence[_AccountRow], *, now_ms: int, first_share_ms: int
) -> list[AccountStats]:
    """Return the statistics of accounts of one coin, in their order."""
    account_ids = [row["account_id"] for row in accounts]
    workers = await connection.fetch(
        f"""
        SELECT account_id, worker_id, worker, work::text AS work, {_COUNTS}, best_hash_work, last_share_time_ms
        FROM shares.worker WHERE account_id = ANY($1::integer[]) ORDER BY worker
        """,
        account_ids,
    )
    minutes = await _minute_works(connection, account_ids, coin_key=accounts[0]["coin_key"], now_ms=now_ms)
    tallies = await _tally_works(connection, [row["worker_id"] for row in workers], now_ms=now_ms)
    by_account: dict[int, list[asyncpg.Record]] = {account_id: [] for account_id in account_ids}
    for row in workers:
        by_account[row["account_id"]].append(row)
    found = []
    for owner in accounts:
        owned = by_account[owner["account_id"]]
        works = [_works(minutes, tallies, entry["worker_id"]) for entry in owned]
        total = [sum(column) for column in zip(*works, strict=True)] if works else [0] * len(WINDOWS)
        found.append(
            AccountStats(
                account=owner["account"],
                rates=_rates(total, now_ms=now_ms, first_share_ms=first_share_ms),
                counts=_counts_sum(owned),
                best_hash_work=max((entry["best_hash_work"] for entry in owned), default=0),
                total_work=sum(int(entry["work"]) for entry in owned),
                workers=tuple(
                    WorkerStats(
                        worker=entry["worker"],
                        rates=_rates(work, now_ms=now_ms, first_share_ms=first_share_ms),
                        counts=Counts.of(entry),
                        last_share_time_ms=entry["last_share_time_ms"],
                        best_hash_work=entry["best_hash_work"],
                    )
                    for entry, work in zip(owned, works, strict=True)
                ),
            )
        )
    return found


async def _minute_works(
    connection: Connection, account_ids: Sequence[int], *, coin_key: int, now_ms: int
) -> dict[int, list[int]]:
    """Return work by worker_id over the windows that are summed from minutes.

    Slices are found by account and height; the sums by minute tell from which height on. Asked account by account, so
    that also a plan made without knowing the numbers goes by the index.
    """
    starts = [window.start_minute(now_ms) for window in WINDOWS if window.span == Span.MINUTE]
    sums = ", ".join(f"coalesce(sum(work) FILTER (WHERE minute >= ${i}), 0)::text" for i in range(4, 4 + len(starts)))
    rows = await connection.fetch(
        f"""
        SELECT found.* FROM unnest($1::integer[]) AS wanted(account_id) CROSS JOIN LATERAL (
            SELECT worker_id, {sums} FROM shares.slice
            WHERE slice.account_id = wanted.account_id AND minute >= $3 AND accepted_count > 0
                AND height >= (SELECT min(height + 0) FROM shares.pool_slice WHERE coin_key = $2 AND minute >= $3)
            GROUP BY worker_id
        ) AS found
        """,
        account_ids,
        coin_key,
        min(starts),
        *starts,
    )
    return {row[0]: [int(value) for value in tuple(row)[1:]] for row in rows}


async def _tally_works(connection: Connection, worker_ids: Sequence[int], *, now_ms: int) -> dict[tuple[int, int], int]:
    """Return work by (worker_id, span) over the windows that are summed from tallies."""
    starts = tally_starts(now_ms)
    rows = await connection.fetch(
        """
        SELECT wanted.worker_id, spans.span_min, found.work
        FROM unnest($1::integer[]) AS wanted(worker_id)
        CROSS JOIN unnest($2::smallint[], $3::integer[]) AS spans(span_min, start_bucket)
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(work), 0)::text AS work FROM shares.tally
            WHERE tally.worker_id = wanted.worker_id AND tally.span_min = spans.span_min
                AND tally.bucket >= spans.start_bucket
        ) AS found
        """,
        worker_ids,
        [int(Span.TEN_MINUTES), int(Span.HOUR)],
        [starts[Span.TEN_MINUTES], starts[Span.HOUR]],
    )
    return {(row["worker_id"], row["span_min"]): int(row["work"]) for row in rows}


def _works(minutes: Mapping[int, list[int]], tallies: Mapping[tuple[int, int], int], worker_id: int) -> list[int]:
    """Return a worker's work in the order of WINDOWS."""
    short = minutes.get(worker_id, [0, 0, 0])
    return [*short, tallies.get((worker_id, Span.TEN_MINUTES), 0), tallies.get((worker_id, Span.HOUR), 0)]


def _rates(works: Sequence[int], *, now_ms: int, first_share_ms: int) -> Rates:
    return tuple(
        window.hashrate_hps(work, now_ms=now_ms, first_share_ms=first_share_ms)
        for window, work in zip(WINDOWS, works, strict=True)
    )


def _counts_sum(rows: Sequence[asyncpg.Record]) -> Counts:
    return Counts(
        accepted=sum(row["accepted_count"] for row in rows),
        stale=sum(row["stale_count"] for row in rows),
        duplicate=sum(row["duplicate_count"] for row in rows),
        low_difficulty=sum(row["low_difficulty_count"] for row in rows),
        invalid=sum(row["invalid_count"] for row in rows),
    )
