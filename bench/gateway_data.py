"""The database of a pool that has mined for three months, made in a minute: what `bench.gateway` asks about.

Every row stands where the services would have put it, and in the order of time, so that a miner's rows lie as far apart
as they do on a real disk. Left out is what no page of a miner or of the overview reads: most of the older slices, and
the ledger's transfers (its accounts are there, with their sums).
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bench.fixed_node import COIN, HEIGHT
from coins.bitcoin.address import AddressKind, encode
from ledger.storage import migrate_ledger
from payouts.storage import migrate_payouts
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Connection, Pool

STATEMENT_S_MAX = 300.0
MINUTES_PER_HEIGHT = 10
HOUR_MIN, DAY_MIN = 60, 1440
KEPT_EVERY_MIN = 720
"""Before that, of each worker one slice in so many minutes is there; of the busy accounts each."""
LIVE_MIN = 70
"""Minutes back from now of which every worker has a slice: all that a page sums up from slices, and some more."""
WORK, SHARES = 6_000_000, 6
"""Of one worker in one minute."""
PAYOUT_BATCHES = 90
PAID_OF_ACCOUNTS = 3
"""Every third account is in a batch."""
CREDIT_ATOMIC = 1_000_000
FEE_ATOMIC = 3_000_000
PAYOUT_ATOMIC = 2_000_000
_SPANS = ((10, 288), (60, 192), (360, 368))
"""Spans of histories and how many of each are kept (shares/history_span.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How much there is.

    Attributes:
        worker_count: Workers of all accounts.
        days: Days of mining.
        block_count: Blocks found in them.
        credit_count: Accounts that each block is credited to.
        busy_count: Accounts, the last ones, with slices of every minute; those of others are thinned (KEPT_EVERY_MIN).
    """

    worker_count: int
    days: int
    block_count: int
    credit_count: int
    busy_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Miner:
    """An account.

    Attributes:
        address: Its name.
        worker_count: How many rigs it has.
    """

    address: str
    worker_count: int


def make_miners(worker_count: int) -> list[Miner]:
    """Return accounts as a pool has them: few with very many workers, most with a handful; 3,000 for 20,000 workers.

    Of 20,000 workers: 5 accounts of 200, 45 of 60, 450 of 12 and 2,500 of 4 or 5.
    """
    scale = worker_count / 20_000
    sizes = [200] * round(5 * scale) + [60] * round(45 * scale) + [12] * round(450 * scale)
    rest, others = worker_count - sum(sizes), max(1, round(2_500 * scale))
    sizes += [rest // others + (number < rest % others) for number in range(others)]
    return [Miner(address=_address(number), worker_count=size) for number, size in enumerate(sizes)]


def _address(number: int) -> str:
    return encode(COIN, AddressKind.P2WPKH, hashlib.sha256(number.to_bytes(8, "little")).digest()[:20])


async def fill(pool: Pool, miners: Sequence[Miner], shape: Shape, *, now_ms: int) -> None:
    """Make all schemas and fill them."""
    for schema in ("shares", "miners"):
        await migrate(pool, schema=schema, package=schema)
    await migrate_ledger(pool)
    await migrate(pool, schema="rewards", package="rewards")
    await migrate_payouts(pool)
    async with pool.acquire() as connection:
        filling = _Filling(connection, shape, now_ms=now_ms)
        await filling.begin(miners)
        await filling.shares()
        await filling.history()
        await filling.miners()
        await filling.blocks()
        await filling.payouts()
        await filling.end()


class _Filling:
    """Fills one schema after the other.

    Args:
        connection: A superuser's.
        shape: How much.
        now_ms: The time, milliseconds since the Unix epoch.
    """

    def __init__(self, connection: Connection, shape: Shape, *, now_ms: int) -> None:
        self._connection = connection
        self._shape = shape
        self._now_ms = now_ms
        self._minute = now_ms // 60_000
        self._busy_id = 0

    async def _run(self, statement: str, *values: object) -> None:
        await self._connection.execute(statement, *values, timeout=STATEMENT_S_MAX)

    async def begin(self, miners: Sequence[Miner]) -> None:
        """Write down who mines. Triggers and foreign keys are off: what they check is made right here."""
        for setting in (
            "statement_timeout = 0",
            "session_replication_role = replica",
            "synchronous_commit = off",
            "maintenance_work_mem = '512MB'",
            "work_mem = '128MB'",
        ):
            await self._run(f"SET {setting}")
        await self._run("CREATE TEMP TABLE miner (n integer, account text, workers integer)")
        rows = [(number, miner.address, miner.worker_count) for number, miner in enumerate(miners, start=1)]
        await self._connection.copy_records_to_table("miner", records=rows)
        self._busy_id = len(rows) + 1 - self._shape.busy_count
        await self._run("ANALYZE miner")

    async def shares(self) -> None:
        """Fill slices and what is summed up from them."""
        first_ms = self._now_ms - self._shape.days * DAY_MIN * 60_000
        await self._run(
            """
            INSERT INTO shares.coin (coin, accepted_count, work, first_share_time_ms, last_share_time_ms)
            VALUES ($1, 1000000000, 1000000000000000, $2, $3)
            """,
            COIN.coin_id,
            first_ms,
            self._now_ms,
        )
        await self._run("INSERT INTO shares.book (coin_key, scheme) VALUES (1, 'pplns')")
        await self._run("INSERT INTO shares.account (coin_key, account) SELECT 1, account FROM miner ORDER BY n")
        await self._run(
            """
            INSERT INTO shares.worker (account_id, worker, work, accepted_count, stale_count, last_share_time_ms)
            SELECT n, 'rig' || k, 1000000000, 1000, 10, $1 FROM miner, generate_series(1, workers) AS k ORDER BY n, k
            """,
            self._now_ms,
        )
        await self._run("UPDATE shares.coin SET best_worker_id = 1, best_hash_work = 5000000000")
        remade = await self._without_indexes("shares.slice")
        live_minute = self._minute - LIVE_MIN
        for back in range(self._shape.days, 0, -1):
            start = self._minute - back * DAY_MIN
            days = (start, min(start + DAY_MIN, live_minute))
            await self._slices(
                "generate_series($1, $2 - 1) AS minute, shares.worker", *days, condition="account_id >= $3"
            )
            thin = f"SELECT * FROM shares.worker, generate_series($1, $2 - 1, {KEPT_EVERY_MIN}) AS part"
            source = f"(SELECT *, part + worker_id % {KEPT_EVERY_MIN} AS minute FROM ({thin}) AS one) AS thinned"
            await self._slices(source, *days, condition="account_id < $3 AND minute < $2")
        source = "generate_series($1, $2) AS minute, shares.worker"
        await self._slices(source, live_minute, self._minute, condition="$3 = $3")
        await remade()
        await self._run(
            f"""
            INSERT INTO shares.pool_slice
            SELECT 1, 1, {self._height("minute")}, minute, {WORK} * $3::bigint, {SHARES} * $3::bigint, 0, 0, 0, 0
            FROM generate_series($1::integer, $2::integer) AS minute
            """,
            self._minute - self._shape.days * DAY_MIN,
            self._minute,
            self._shape.worker_count,
        )
        for span, kept_count in ((10, 7), (60, 25)):
            await self._run(
                f"""
                INSERT INTO shares.tally (worker_id, span_min, bucket, work)
                SELECT worker_id, {span}, $1::integer / {span} - back, {WORK} * {span}
                FROM generate_series({kept_count}, 0, -1) AS back, shares.worker
                """,
                self._minute,
            )

    async def _slices(self, source: str, start: int, end: int, *, condition: str) -> None:
        """Insert a slice for each row of minute, worker_id and account_id in a source; $3 is the first busy account."""
        await self._run(
            f"""
            INSERT INTO shares.slice (
                coin_key, book_id, height, minute, worker_id, account_id, work,
                accepted_count, stale_count, duplicate_count, low_difficulty_count, invalid_count, best_hash_work
            )
            SELECT 1, 1, {self._height("minute")}, minute, worker_id, account_id, {WORK}, {SHARES},
                (minute % 50 = 0)::integer, 0, 0, 0, 5000000
            FROM {source.replace("$1", "$1::integer").replace("$2", "$2::integer")}
            WHERE {condition.replace("$3", "$3::integer")}
            """,
            start,
            end,
            self._busy_id,
        )

    def _height(self, minute: str) -> str:
        """Return the height of a minute as SQL: the newest is that below the node's."""
        return f"{HEIGHT - 1} - ({self._minute} - {minute}) / {MINUTES_PER_HEIGHT}"

    async def history(self) -> None:
        """Fill histories, span after span as they were rolled up.

        A worker mines in every other quarter of a day, and three in four have come in the last month.
        """
        remade = await self._without_indexes("shares.history")
        newest = self._minute // 10 - 1
        await self._run(
            """
            CREATE TEMP TABLE subject AS
            SELECT account_id, worker_id, 1 AS workers FROM shares.worker
            UNION ALL SELECT n, 0, workers FROM miner
            UNION ALL SELECT 0, 0, $1::integer
            ORDER BY 1, 2
            """,
            self._shape.worker_count,
        )
        for span, count in _SPANS:
            last = newest * 10 // span
            for bucket in range(last - min(count, self._shape.days * DAY_MIN // span), last + 1):
                await self._run(
                    """
                    INSERT INTO shares.history (
                        coin_key, account_id, worker_id, span_min, bucket,
                        work, accepted_count, rejected_count, worker_count
                    )
                    SELECT 1, account_id, worker_id, $1::integer, $2::integer,
                        $3::bigint * workers, $4::bigint * workers, workers, workers
                    FROM subject
                    WHERE worker_id = 0 OR ($1::integer < 360 AND (worker_id + $2::integer * $1 / 360) % 2 = 0)
                        OR ($1 = 360 AND (worker_id % 4 = 0 OR $2 > $5::integer / 360 - 120))
                    """,
                    span,
                    bucket,
                    WORK * span,
                    SHARES * span,
                    self._minute,
                )
        await remade()
        await self._run(
            "INSERT INTO shares.last_reject SELECT worker_id, $1, 'stale' FROM shares.worker", self._minute - 60
        )

    async def miners(self) -> None:
        """Fill accounts and workers, one in ten of them offline."""
        since_ms = self._now_ms - self._shape.days * DAY_MIN * 60_000
        await self._run(
            """
            INSERT INTO miners.account (coin, account, create_time_ms, last_share_time_ms)
            SELECT $1, account, $2, $3 FROM miner ORDER BY n
            """,
            COIN.coin_id,
            since_ms,
            self._now_ms,
        )
        await self._run(
            """
            INSERT INTO miners.worker (
                account_id, worker, create_time_ms, last_share_time_ms, offline_after_ms, scheme, user_agent,
                offline_since_ms
            )
            SELECT n, 'rig' || k, $1, $2::bigint, 7200000, 'pplns', 'cgminer/4.11.1',
                CASE WHEN (n + k) % 10 = 0 THEN $2::bigint - 3600000 END
            FROM miner, generate_series(1, workers) AS k ORDER BY n, k
            """,
            since_ms,
            self._now_ms,
        )

    async def blocks(self) -> None:
        """Fill mature blocks with their credits, and the accounts of the ledger."""
        shape = self._shape
        step_ms = shape.days * DAY_MIN * 60_000 // shape.block_count
        heights_each = shape.days * DAY_MIN // MINUTES_PER_HEIGHT / shape.block_count
        reward_atomic = shape.credit_count * CREDIT_ATOMIC + FEE_ATOMIC
        await self._run(
            """
            INSERT INTO rewards.block (
                coin, block_hash_hex, height, found_time_ms, account, worker, scheme, reward_atomic, fees_atomic,
                network_work, coinbase_txid_hex, instance, fee_ppm, status, generation, confirmations, is_credited,
                pool_fee_atomic, window_work, round_work
            )
            SELECT $1, repeat(md5(back::text), 2), ($2::bigint - 1 - floor(back * $3::float8))::bigint,
                $4::bigint - back * $5::bigint, miner.account, 'rig1', 'pplns', $6, 1000, 1000000000000000,
                repeat(md5('tx' || back), 2), 'stratum-0', 10000,
                CASE WHEN back % 100 = 50 THEN 'orphaned' ELSE 'mature' END, 1, 200, true, $7,
                2000000000000000, 900000000000000 + back * 1000000000::bigint
            FROM generate_series($8::integer, 1, -1) AS back JOIN miner ON n = back % (SELECT count(*) FROM miner) + 1
            """,
            COIN.coin_id,
            HEIGHT - 1,
            heights_each,
            self._now_ms,
            step_ms,
            reward_atomic,
            FEE_ATOMIC,
            shape.block_count,
        )
        remade = await self._without_indexes("rewards.credit")
        await self._run(
            """
            INSERT INTO rewards.credit (coin, block_hash_hex, account, height, work, amount_atomic)
            SELECT block.coin, block_hash_hex, miner.account, height, 6000000000, $1
            FROM (SELECT *, row_number() OVER (ORDER BY height, block_hash_hex) AS number FROM rewards.block) AS block
            JOIN miner ON (n + number) % greatest(1, (SELECT count(*) FROM miner) / $2::integer) = 0
            """,
            CREDIT_ATOMIC,
            shape.credit_count,
        )
        await remade()
        await self._run(
            """
            INSERT INTO ledger.account (coin, owner, bucket, credits_posted, debits_posted)
            SELECT $1, account, bucket, 1000000000, CASE bucket WHEN 'immature' THEN 900000000 ELSE 0 END
            FROM miner, unnest(ARRAY['immature', 'payable', 'paid']) AS bucket
            """,
            COIN.coin_id,
        )

    async def payouts(self) -> None:
        """Fill confirmed batches, each with a payment to one in three accounts."""
        await self._run(
            """
            INSERT INTO payouts.batch (
                batch_id, coin, status, amount_atomic, payout_count, fee_rate_min_sat_per_kvb, fee_rate_max_sat_per_kvb,
                fee_atomic_max, raw, txid_hex, fee_atomic, weight, confirmations, create_time_ms, update_time_ms,
                send_time_ms, confirm_time_ms
            )
            SELECT gen_random_uuid(), $1, 'confirmed', $2::bigint * payees, payees, 1000, 100000, 1000000,
                decode('00', 'hex'), repeat(md5('payout' || back), 2), 1000, 4000, 100,
                time_ms, time_ms, time_ms, time_ms
            FROM (
                SELECT back, $4::bigint - back * 86400000::bigint AS time_ms,
                    (SELECT count(*)::integer FROM miner WHERE n % $5::integer = back % $5::integer) AS payees
                FROM generate_series($3::integer, 1, -1) AS back
            ) AS batches
            """,
            COIN.coin_id,
            PAYOUT_ATOMIC,
            PAYOUT_BATCHES,
            self._now_ms,
            PAID_OF_ACCOUNTS,
        )
        await self._run(
            """
            INSERT INTO payouts.item (payout_id, batch_id, coin, account, amount_atomic)
            SELECT gen_random_uuid(), batch_id, coin, account, $1
            FROM payouts.batch
            JOIN miner ON n % $3::integer = ($2::integer + 1 - batch_number) % $3::integer ORDER BY batch_number, n
            """,
            PAYOUT_ATOMIC,
            PAYOUT_BATCHES,
            PAID_OF_ACCOUNTS,
        )

    async def end(self) -> None:
        """Give the planner its numbers."""
        await self._run("RESET ALL")
        await self._run("DISCARD TEMP")
        await self._run("SET statement_timeout = 0")
        await self._run("VACUUM ANALYZE")
        await self._run("CHECKPOINT")
        await self._run("RESET statement_timeout")

    async def _without_indexes(self, table: str) -> Callable[[], Awaitable[None]]:
        """Drop a table's key and indexes, and return what makes them again: so filling takes a third of the time."""
        keys = await self._connection.fetch(
            """
            SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
            WHERE conrelid = $1::text::regclass AND contype = 'p'
            """,
            table,
        )
        indexes = await self._connection.fetch(
            """
            SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
            WHERE indrelid = $1::text::regclass AND NOT indisprimary
            """,
            table,
        )
        for key in keys:
            await self._run(f"ALTER TABLE {table} DROP CONSTRAINT {key['name']}")
        for index in indexes:
            await self._run(f"DROP INDEX {index['name']}")

        async def remake() -> None:
            for key in keys:
                await self._run(f"ALTER TABLE {table} ADD CONSTRAINT {key['name']} {key['definition']}")
            for index in indexes:
                await self._run(index["definition"])

        return remake
