"""Measure how long the share service takes to answer what a miner's page and the pool's page ask.

Fills an embedded PostgreSQL with the slices of many workers over the last hour, and of some accounts over 90 days, then
asks over gRPC. Prints one JSON object at the end, times in milliseconds.

    python -m bench.share_pages --workers 20000 --days 90
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.database import in_new_folder, shares_database
from coins.settings import PoolSettings
from proto.lodepool.shares.v1 import shares_pb2, shares_pb2_grpc
from runtime.clock import SystemClock
from runtime.eventlog.postgres import PostgresEventLog
from runtime.live import Live
from runtime.platform import Platform
from runtime.postgres.pool import Pool
from runtime.process import socket_dir
from runtime.rpc.client import RpcClients, StaticDirectory
from shares.config import SharesSettings
from shares.main import run

COIN = "litecoin-regtest"
POOL = PoolSettings(coin=COIN, address="rltc1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnmxrc5")
MINUTES_PER_HEIGHT = 2
SLICES = 4

_FILL = (
    "INSERT INTO shares.coin (coin, first_share_time_ms) VALUES ($1, 1)",
    "INSERT INTO shares.book (coin_key, scheme) VALUES (1, 'pplns')",
    "INSERT INTO shares.account (coin_key, account) SELECT 1, 'account' || n FROM generate_series(1, $1::integer) AS n",
    """
    INSERT INTO shares.worker (account_id, worker, work, accepted_count, last_share_time_ms)
    SELECT (n - 1) % $2::integer + 1, 'worker' || n, 1000, 1000, $3 FROM generate_series(1, $1::integer) AS n
    """,
    """
    INSERT INTO shares.slice (
        coin_key, book_id, height, minute, worker_id, account_id, work,
        accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count, best_hash_work
    )
    SELECT 1, 1, minute / $5::integer, minute, worker_id, account_id, 6000000, 6, 0, 0, 0, 0, 5000000
    FROM generate_series($1::integer - $2::integer, $1::integer) AS minute
    JOIN shares.worker ON worker.account_id BETWEEN $3 AND $4
    """,
    """
    INSERT INTO shares.pool_slice
    SELECT 1, 1, minute / $2::integer, minute, 6000000, 6, 0, 0, 0, 0
    FROM generate_series($1::integer - $3::integer, $1::integer) AS minute
    """,
    """
    INSERT INTO shares.tally (worker_id, span_min, bucket, work)
    SELECT worker_id, span, $1::integer / span - back, 1000000000
    FROM shares.worker, (VALUES (10, 12), (60, 30)) AS spans(span, kept), generate_series(0, kept) AS back
    """,
    """
    INSERT INTO shares.history (
        coin_key, account_id, worker_id, span_min, bucket, work, accepted_count, rejected_count, worker_count
    )
    SELECT 1, account_id, worker_id, span, ($1::integer / 10 - 1) * 10 / span - back, 1000000000, 60, 1, 1
    FROM (
        SELECT account_id, worker_id FROM shares.worker
        UNION ALL SELECT account_id, 0 FROM shares.account
        UNION ALL SELECT 0, 0
    ) AS subjects, (VALUES (10, 144), (60, 168), (360, 364)) AS spans(span, kept), generate_series(0, kept) AS back
    """,
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=20_000)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--minutes", type=int, default=60, help="slices of all workers")
    parser.add_argument("--days", type=int, default=90, help="slices of the accounts that are asked for")
    parser.add_argument("--accounts-asked", type=int, default=3)
    parser.add_argument("--calls", type=int, default=200)
    return parser.parse_args()


async def fill(pool: Pool, options: argparse.Namespace, *, now_ms: int) -> None:
    minute, days_min = now_ms // 60_000, options.days * 1440
    asked = options.accounts_asked
    parameters: tuple[tuple[object, ...], ...] = (
        (COIN,),
        (),
        (options.accounts,),
        (options.workers, options.accounts, now_ms),
        (minute, days_min, 1, asked, MINUTES_PER_HEIGHT),
        (minute, MINUTES_PER_HEIGHT, days_min),
        (minute,),
        (minute,),
    )
    async with pool.acquire() as connection:
        await connection.execute("SET statement_timeout = 0")
        for statement, values in zip(_FILL, parameters, strict=True):
            await connection.execute(statement, *values, timeout=600)
        others = (minute, options.minutes, asked + 1, options.accounts, MINUTES_PER_HEIGHT)
        await connection.execute(_FILL[SLICES], *others, timeout=600)
        await connection.execute("VACUUM ANALYZE", timeout=600)


async def timed(ask: Callable[[int], Awaitable[object]], calls: int) -> dict[str, float]:
    times_ms = []
    for number in range(calls):
        started_s = time.perf_counter()
        await ask(number)
        times_ms.append((time.perf_counter() - started_s) * 1000)
    times_ms.sort()
    return {"p50": round(times_ms[calls // 2], 2), "p95": round(times_ms[calls * 95 // 100], 2)}


async def measure(options: argparse.Namespace, data_dir: Path) -> dict[str, object]:
    async with shares_database(data_dir) as pool:
        return await ask_pages(options, pool, data_dir)


async def ask_pages(options: argparse.Namespace, pool: Pool, data_dir: Path) -> dict[str, object]:
    directory = StaticDirectory({"shares": f"unix:{socket_dir(data_dir) / 'shares.sock'}"})
    clients = RpcClients(directory)
    clock = SystemClock()
    serving: asyncio.Task[None] | None = None
    try:
        await fill(pool, options, now_ms=clock.now_ms())
        is_ready = asyncio.Event()
        platform = Platform.local(
            clock=clock,
            pool=pool,
            eventlog=await PostgresEventLog.open(pool),
            directory=directory,
            clients=clients,
            ready=lambda _name: is_ready.set(),
        )
        serving = asyncio.create_task(run(Live(SharesSettings(retention_days=3650)), POOL, platform))
        await asyncio.wait_for(is_ready.wait(), 30)
        stub = shares_pb2_grpc.ShareServiceStub(clients.channel("shares"))

        def account(number: int) -> Awaitable[object]:
            name = f"account{number % options.accounts_asked + 1}"
            return stub.GetAccountStats(shares_pb2.GetAccountStatsRequest(coin=COIN, account=name))

        def slices(number: int) -> Awaitable[object]:
            name = f"account{number % options.accounts_asked + 1}"
            return stub.ListSlices(shares_pb2.ListSlicesRequest(coin=COIN, account=name, page_size=100))

        def history(number: int) -> Awaitable[object]:
            name = f"account{number % options.accounts_asked + 1}"
            request = shares_pb2.GetHashrateHistoryRequest(
                coin=COIN, account=name, window=shares_pb2.HISTORY_WINDOW_QUARTER
            )
            return stub.GetHashrateHistory(request)

        height = clock.now_ms() // 60_000 // MINUTES_PER_HEIGHT - 10
        return {
            "workers": options.workers,
            "accounts": options.accounts,
            "slices": await pool.fetchval("SELECT count(*) FROM shares.slice"),
            "account_stats_ms": await timed(account, options.calls),
            "account_history_90d_ms": await timed(history, options.calls),
            "pool_history_90d_ms": await timed(
                lambda _: stub.GetHashrateHistory(
                    shares_pb2.GetHashrateHistoryRequest(coin=COIN, window=shares_pb2.HISTORY_WINDOW_QUARTER)
                ),
                options.calls,
            ),
            "leaders_ms": await timed(
                lambda _: stub.ListLeaders(shares_pb2.ListLeadersRequest(coin=COIN)), options.calls // 10
            ),
            "account_slices_page_ms": await timed(slices, options.calls),
            "pool_stats_ms": await timed(
                lambda _: stub.GetPoolStats(shares_pb2.GetPoolStatsRequest(coin=COIN, round_start_height=height)),
                options.calls,
            ),
            "list_accounts_ms": await timed(
                lambda _: stub.ListAccounts(shares_pb2.ListAccountsRequest(coin=COIN, page_size=100)),
                options.calls // 10,
            ),
        }
    finally:
        if serving is not None:
            serving.cancel()
            await asyncio.wait({serving})
        await clients.close()


def main() -> int:
    options = arguments()
    result = in_new_folder(lambda data_dir: measure(options, data_dir))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
