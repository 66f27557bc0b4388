"""Orders of accounts that are kept for a moment, on a real PostgreSQL."""

import asyncio

import asyncpg
import pytest

from runtime.clock import ManualClock
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Pool
from shares.hashrate import HOUR_WINDOW
from shares.leaders import OLD_RATIO_MAX, Ranking

COIN = "litecoin-regtest"
KEEP_S = 5.0
NOW_S = 1_700_000_000


@pytest.fixture
async def pool(database) -> Pool:
    await migrate(database.pool, schema="shares", package="shares")
    await database.pool.execute("INSERT INTO shares.coin (coin, first_share_time_ms) VALUES ($1, 1)", COIN)
    await database.pool.execute("INSERT INTO shares.account (coin_key, account) VALUES (1, 'alice'), (1, 'bob')")
    await database.pool.execute("INSERT INTO shares.worker (account_id, worker) VALUES (1, ''), (2, '')")
    await put_work(database.pool, alice=200, bob=100)
    return database.pool


async def put_work(pool: Pool, *, alice: int, bob: int) -> None:
    await pool.execute("DELETE FROM shares.tally")
    await pool.execute(
        "INSERT INTO shares.tally (worker_id, span_min, bucket, work) VALUES (1, 10, $1, $2), (2, 10, $1, $3)",
        NOW_S // 600,
        alice,
        bob,
    )


async def names(ranking: Ranking) -> list[str]:
    return [entry.account for entry in (await ranking.order(COIN)).entries]


def ranking_of(pool: Pool) -> tuple[Ranking, ManualClock]:
    clock = ManualClock(now_s=NOW_S)
    return Ranking(pool=pool, clock=clock, window=HOUR_WINDOW, keep_s=KEEP_S), clock


async def test_an_order_that_is_old_is_handed_out_while_the_next_is_made(pool):
    """R6: a page of it follows the page before."""
    ranking, clock = ranking_of(pool)
    assert await names(ranking) == ["alice", "bob"]
    await put_work(pool, alice=200, bob=300)
    clock.advance(KEEP_S - 1)
    assert await names(ranking) == ["alice", "bob"]
    clock.advance(1)
    assert await names(ranking) == ["alice", "bob"], "nobody waits for the database"
    async with asyncio.timeout(10):
        while await names(ranking) != ["bob", "alice"]:
            await asyncio.sleep(0.005)


async def test_an_order_that_is_too_old_is_waited_for(pool):
    """R6: also when nobody has asked for a while, an order is of this moment."""
    ranking, clock = ranking_of(pool)
    assert await names(ranking) == ["alice", "bob"]
    await put_work(pool, alice=200, bob=300)
    clock.advance(KEEP_S * OLD_RATIO_MAX)
    asked = await asyncio.gather(*(names(ranking) for _ in range(5)))
    assert asked == [["bob", "alice"]] * 5


async def test_the_failure_of_an_order_is_told_to_those_who_wait_and_forgotten(pool):
    """D6: a database that is away and comes back needs no restart."""
    ranking, clock = ranking_of(pool)
    await pool.execute("ALTER TABLE shares.tally RENAME TO hidden")
    with pytest.raises(asyncpg.UndefinedTableError):
        await names(ranking)
    await pool.execute("ALTER TABLE shares.hidden RENAME TO tally")
    assert await names(ranking) == ["alice", "bob"]
    clock.advance(KEEP_S)
    await pool.execute("ALTER TABLE shares.tally RENAME TO hidden")
    assert await names(ranking) == ["alice", "bob"], "the old one serves on"
    await pool.execute("ALTER TABLE shares.hidden RENAME TO tally")
