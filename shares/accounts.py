"""Read accounts: one with its workers for its page, many with their sums for a list.

A page is asked for often, so it costs three questions whatever the number of workers: whose it is and up to where its
history is rolled up, what its slices since then say, and its workers with what is kept of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from runtime.postgres.pool import Connection
from shares.domain import MINUTE_MS
from shares.hashrate import HOUR_WINDOW, WINDOWS, Rates, Span, rates_of, tally_starts
from shares.history import NEWEST, REASON, REJECTED, first_live_minute
from shares.history_span import ROLL_MIN
from shares.leaders import Order, Ranked
from shares.stats import Counts

_COUNTS = "accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count"
_COUNT_SUMS = ", ".join(f"sum({name})::bigint AS {name}" for name in _COUNTS.split(", "))
_MINUTE_WINDOWS = tuple(window for window in WINDOWS if window.span == Span.MINUTE)
REJECT_MIN = 24 * 60
"""Minutes back that rejected shares are looked for in slices: more only while a roll-up catches up."""
_REASONS = ("stale", "low_difficulty", "duplicate", "invalid")
_REASON_NUMBER = f"array_position(ARRAY{list(_REASONS)}, {REASON}) - 1"
_LEAST_HEIGHT = "(SELECT min(height + 0) FROM shares.pool_slice WHERE coin_key = {coin_key} AND minute >= {minute})"
"""Slices have no index by minute: they are found by account and height.

A sum is no column: a plan made without knowing the numbers would otherwise walk through all heights to find the first.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """When shares of a worker were last rejected, by the minute, and why most of them were."""

    time_ms: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStats:
    """One worker at this moment; `last_reject` is None when none of its shares was rejected."""

    worker: str
    rates: Rates
    counts: Counts
    last_share_time_ms: int
    best_hash_work: int
    last_reject: Reject | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStats:
    """One account at this moment.

    Attributes:
        account: Its name.
        rates: Its hashrates.
        counts: Its shares by outcome.
        best_hash_work: Its best hash.
        total_work: Its accepted work.
        accepted_1h: The accepted shares that its hashrate over an hour is made of; 0 where they were not asked for.
        workers: By name; empty where they were not asked for.
    """

    account: str
    rates: Rates
    counts: Counts
    best_hash_work: int
    total_work: int
    accepted_1h: int = 0
    workers: tuple[WorkerStats, ...] = ()


async def account_stats(connection: Connection, *, coin: str, account: str, now_ms: int) -> AccountStats | None:
    """Return an account's statistics with its workers, None when it has never mined here."""
    owner = await connection.fetchrow(
        f"""
        SELECT account.account_id, account.coin_key, coin.first_share_time_ms, ({NEWEST}) AS newest_bucket, (
            SELECT coalesce(sum(accepted_count), 0)::bigint FROM shares.history
            WHERE history.coin_key = account.coin_key AND history.account_id = account.account_id
                AND history.worker_id = 0 AND history.span_min = {ROLL_MIN} AND history.bucket >= $3
        ) AS accepted
        FROM shares.account JOIN shares.coin USING (coin_key) WHERE coin.coin = $1 AND account.account = $2
        """,
        coin,
        account,
        HOUR_WINDOW.start_bucket(now_ms),
    )
    if owner is None:
        return None
    live = await _live(connection, owner, now_ms=now_ms)
    rows = await _workers(connection, owner["account_id"], now_ms=now_ms)
    first_share_ms = owner["first_share_time_ms"]
    works = [_works(row, live.get(row["worker_id"])) for row in rows]
    total = [sum(column) for column in zip(*works, strict=True)] if works else [0] * len(WINDOWS)
    return AccountStats(
        account=account,
        rates=rates_of(total, now_ms=now_ms, first_share_ms=first_share_ms),
        counts=Counts.sum_of(rows),
        best_hash_work=max((row["best_hash_work"] for row in rows), default=0),
        total_work=sum(int(row["work"]) for row in rows),
        accepted_1h=owner["accepted"] + sum(row["accepted"] for row in live.values()),
        workers=tuple(
            WorkerStats(
                worker=row["worker"],
                rates=rates_of(work, now_ms=now_ms, first_share_ms=first_share_ms),
                counts=Counts.of(row),
                last_share_time_ms=row["last_share_time_ms"],
                best_hash_work=row["best_hash_work"],
                last_reject=_last_reject(row, live.get(row["worker_id"])),
            )
            for row, work in zip(rows, works, strict=True)
        ),
    )


async def ranked_accounts(connection: Connection, order: Order, page: Sequence[Ranked]) -> list[AccountStats]:
    """Return the statistics of a page of accounts, without their workers.

    Args:
        connection: Any.
        order: The order the page is from; the hashrates are of its moment.
        page: The accounts.
    """
    account_ids = [entry.account_id for entry in page]
    minutes = await _minute_works(connection, account_ids, coin_key=order.coin_key, now_ms=order.made_ms)
    starts = tally_starts(order.made_ms)
    rows = await connection.fetch(
        f"""
        SELECT wanted.account_id, found.* FROM unnest($1::integer[]) AS wanted(account_id) CROSS JOIN LATERAL (
            SELECT coalesce(sum(work), 0)::text AS work, {_COUNT_SUMS}, max(best_hash_work) AS best_hash_work,
                coalesce(sum(ten_minutes), 0)::text AS ten_minutes, coalesce(sum(hours), 0)::text AS hours
            FROM (
                SELECT worker.*, {_tally_sum(Span.TEN_MINUTES, "$2")} AS ten_minutes,
                    {_tally_sum(Span.HOUR, "$3")} AS hours
                FROM shares.worker WHERE worker.account_id = wanted.account_id
            ) AS owned HAVING count(*) > 0
        ) AS found
        """,
        account_ids,
        starts[Span.TEN_MINUTES],
        starts[Span.HOUR],
    )
    by_account = {row["account_id"]: row for row in rows}
    return [
        AccountStats(
            account=entry.account,
            rates=rates_of(
                _works(row, minutes.get(entry.account_id)), now_ms=order.made_ms, first_share_ms=order.first_share_ms
            ),
            counts=Counts.of(row),
            best_hash_work=row["best_hash_work"],
            total_work=int(row["work"]),
        )
        for entry in page
        if (row := by_account.get(entry.account_id)) is not None
    ]


async def _live(connection: Connection, owner: asyncpg.Record, *, now_ms: int) -> dict[int, asyncpg.Record]:
    """Return by worker_id what slices say: work of the short windows, and what no roll-up has seen."""
    live_minute = first_live_minute(owner["newest_bucket"])
    hour_minute = max(live_minute, HOUR_WINDOW.start_minute(now_ms))
    reject_minute = max(live_minute, now_ms // MINUTE_MS - REJECT_MIN)
    starts = [window.start_minute(now_ms) for window in _MINUTE_WINDOWS]
    rows = await connection.fetch(
        f"""
        SELECT worker_id, {_work_sums("$6", "$7", "$8")},
            coalesce(sum(accepted_count) FILTER (WHERE minute >= $4), 0)::bigint AS accepted,
            max(minute::bigint * {len(_REASONS)} + {_REASON_NUMBER})
                FILTER (WHERE minute >= $5 AND {REJECTED} > 0) AS reject
        FROM shares.slice
        WHERE account_id = $1 AND minute >= $3 AND height >= {_LEAST_HEIGHT.format(coin_key="$2", minute="$3")}
        GROUP BY worker_id
        """,
        owner["account_id"],
        owner["coin_key"],
        min(hour_minute, reject_minute, *starts),
        hour_minute,
        reject_minute,
        *starts,
    )
    return {row["worker_id"]: row for row in rows}


async def _workers(connection: Connection, account_id: int, *, now_ms: int) -> list[asyncpg.Record]:
    """Return an account's workers by name, with their tallies."""
    starts = tally_starts(now_ms)
    return await connection.fetch(
        f"""
        SELECT worker_id, worker, work::text AS work, {_COUNTS}, best_hash_work, last_share_time_ms,
            {_tally_sum(Span.TEN_MINUTES, "$2")}::text AS ten_minutes, {_tally_sum(Span.HOUR, "$3")}::text AS hours,
            last_reject.minute AS reject_minute, last_reject.reason AS reject_reason
        FROM shares.worker LEFT JOIN shares.last_reject USING (worker_id) WHERE account_id = $1 ORDER BY worker
        """,
        account_id,
        starts[Span.TEN_MINUTES],
        starts[Span.HOUR],
    )


async def _minute_works(
    connection: Connection, account_ids: Sequence[int], *, coin_key: int, now_ms: int
) -> dict[int, asyncpg.Record]:
    """Return work of the short windows by account_id.

    Asked account by account, so that also a plan made without knowing the numbers goes by the index.
    """
    starts = [window.start_minute(now_ms) for window in _MINUTE_WINDOWS]
    rows = await connection.fetch(
        f"""
        SELECT wanted.account_id, found.* FROM unnest($1::integer[]) AS wanted(account_id) CROSS JOIN LATERAL (
            SELECT {_work_sums("$4", "$5", "$6")} FROM shares.slice
            WHERE slice.account_id = wanted.account_id AND minute >= $3
                AND height >= {_LEAST_HEIGHT.format(coin_key="$2", minute="$3")}
        ) AS found
        """,
        account_ids,
        coin_key,
        min(starts),
        *starts,
    )
    return {row["account_id"]: row for row in rows}


def _work_sums(*parameters: str) -> str:
    """Return sums of work since each of some minutes as SQL, named as the windows are."""
    return ", ".join(
        f"coalesce(sum(work) FILTER (WHERE minute >= {parameter}), 0)::text AS {window.name}"
        for window, parameter in zip(_MINUTE_WINDOWS, parameters, strict=True)
    )


def _tally_sum(span: Span, start: str) -> str:
    """Return a worker's sum over tallies from a bucket on as SQL."""
    return f"""(
        SELECT coalesce(sum(work), 0) FROM shares.tally
        WHERE tally.worker_id = worker.worker_id AND tally.span_min = {int(span)} AND tally.bucket >= {start}
    )"""


def _works(kept: asyncpg.Record, live: asyncpg.Record | None) -> list[int]:
    """Return work in the order of WINDOWS."""
    short = [0 if live is None else int(live[window.name]) for window in _MINUTE_WINDOWS]
    return [*short, int(kept["ten_minutes"]), int(kept["hours"])]


def _last_reject(kept: asyncpg.Record, live: asyncpg.Record | None) -> Reject | None:
    """Return the last reject: that of the slices, else that of the roll-up."""
    if live is not None and live["reject"] is not None:
        minute, number = divmod(live["reject"], len(_REASONS))
        return Reject(time_ms=minute * MINUTE_MS, reason=_REASONS[number])
    if kept["reject_minute"] is None:
        return None
    return Reject(time_ms=kept["reject_minute"] * MINUTE_MS, reason=kept["reject_reason"])
