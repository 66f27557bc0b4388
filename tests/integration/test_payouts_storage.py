"""The database keeps the payouts' rules by itself, whoever writes."""

from dataclasses import replace
from itertools import product
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from nodes.interface import SignedTransaction
from payouts import storage
from payouts.domain import TRANSITIONS, BatchEvent, BatchStatus, FeePolicy, Item
from payouts.errors import BatchMoved
from runtime.postgres.pool import Connection

COIN_ID = "litecoin-regtest"
POLICY = FeePolicy(rate_min_sat_per_kvb=1_000, rate_max_sat_per_kvb=2_000, fee_atomic_max=1_000)
REFUSED = asyncpg.IntegrityConstraintViolationError
WAYS = {
    BatchStatus.RESERVED: (),
    BatchStatus.SIGNED: (BatchEvent.SIGN,),
    BatchStatus.BROADCAST: (BatchEvent.SIGN, BatchEvent.TAKE),
    BatchStatus.CONFIRMED: (BatchEvent.SIGN, BatchEvent.TAKE, BatchEvent.SETTLE),
    BatchStatus.REVIEW: (BatchEvent.SIGN, BatchEvent.REFUSE),
    BatchStatus.VOIDED: (BatchEvent.SIGN, BatchEvent.REFUSE, BatchEvent.VOID),
}
DIRECT = {(status, target) for (status, _), target in TRANSITIONS.items()}


@pytest.fixture
async def conn(database: Any) -> Any:
    await storage.migrate_payouts(database.pool)
    async with database.pool.acquire() as connection:
        yield connection


async def make(conn: Connection, *, coin_id: str = COIN_ID, items: list[Item] | None = None) -> UUID:
    batch_id = uuid4()
    async with conn.transaction():
        await storage.insert_batch(
            conn,
            batch_id=batch_id,
            coin_id=coin_id,
            items=items or [Item(payout_id=uuid4(), account="a", amount_atomic=5)],
            policy=POLICY,
            now_ms=1,
        )
    return batch_id


def signed(number: int = 0, *, fee_atomic: int = 10) -> SignedTransaction:
    return SignedTransaction(
        raw=b"raw", txid_hex=f"{number:064x}", fee_atomic=fee_atomic, weight=500, outputs=(("a", 5),)
    )


async def walk(conn: Connection, batch_id: UUID, target: BatchStatus) -> None:
    for event in WAYS[target]:
        batch = await storage.get_batch(conn, batch_id)
        assert batch is not None
        if event is BatchEvent.SIGN:
            await storage.store_signed(conn, batch, signed(batch_id.int % 2**64), now_ms=2)
        else:
            await storage.move(conn, batch, event, now_ms=3, reason="because")


@pytest.mark.parametrize(("status", "target"), list(product(BatchStatus, BatchStatus)))
async def test_no_update_leaves_the_table_of_states(conn: Connection, status: BatchStatus, target: BatchStatus) -> None:
    """P4: also for somebody with psql."""
    batch_id = await make(conn)
    await walk(conn, batch_id, status)
    update = """
        UPDATE payouts.batch
        SET status = $2::text, reason = 'x', confirm_time_ms = CASE WHEN $2::text = 'confirmed' THEN 1 END,
            raw = CASE WHEN $3 THEN coalesce(raw, 'r') ELSE raw END,
            txid_hex = CASE WHEN $3 THEN coalesce(txid_hex, repeat('0', 64)) ELSE txid_hex END,
            fee_atomic = CASE WHEN $3 THEN coalesce(fee_atomic, 1) ELSE fee_atomic END,
            weight = CASE WHEN $3 THEN coalesce(weight, 1) ELSE weight END
        WHERE batch_id = $1
    """
    arguments = (batch_id, target.value, (status, target) == (BatchStatus.RESERVED, BatchStatus.SIGNED))

    if (status, target) in DIRECT or (status is target and status not in {BatchStatus.CONFIRMED, BatchStatus.VOIDED}):
        await conn.execute(update, *arguments)
    else:
        with pytest.raises(REFUSED):
            await conn.execute(update, *arguments)


async def test_stale_reader_cannot_change_a_batch(conn: Connection) -> None:
    """P4: compare-and-swap."""
    batch_id = await make(conn)
    stale = await storage.get_batch(conn, batch_id)
    assert stale is not None
    await walk(conn, batch_id, BatchStatus.BROADCAST)

    with pytest.raises(BatchMoved):
        await storage.store_signed(conn, stale, signed(1), now_ms=5)
    with pytest.raises(BatchMoved):
        await storage.move(conn, replace(stale, status=BatchStatus.SIGNED), BatchEvent.TAKE, now_ms=5)


async def test_only_one_unsent_batch_a_coin(conn: Connection) -> None:
    """P4"""
    first = await make(conn)
    with pytest.raises(asyncpg.UniqueViolationError):
        await make(conn)
    await make(conn, coin_id="bitcoin-regtest")
    await walk(conn, first, BatchStatus.BROADCAST)
    await make(conn)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payouts.batch SET amount_atomic = amount_atomic + 1",
        "UPDATE payouts.batch SET payout_count = payout_count + 1",
        "UPDATE payouts.batch SET fee_atomic_max = fee_atomic_max + 1",
        "UPDATE payouts.batch SET raw = 'other'",
        "UPDATE payouts.batch SET txid_hex = repeat('a', 64)",
        "UPDATE payouts.batch SET fee_atomic = fee_atomic + 1",
        "UPDATE payouts.batch SET coin = 'other'",
        "UPDATE payouts.batch SET raw = NULL, txid_hex = NULL, fee_atomic = NULL, weight = NULL",
        "UPDATE payouts.item SET amount_atomic = amount_atomic + 1",
        "UPDATE payouts.item SET account = 'thief'",
        "UPDATE payouts.batch_step SET to_status = 'confirmed'",
        "DELETE FROM payouts.item",
        "DELETE FROM payouts.batch_step",
        "DELETE FROM payouts.batch",
        "TRUNCATE payouts.batch CASCADE",
        (
            "INSERT INTO payouts.item (payout_id, batch_id, coin, account, amount_atomic) "
            "SELECT gen_random_uuid(), batch_id, coin, 'thief', 1 FROM payouts.batch"
        ),
    ],
)
async def test_what_a_batch_intends_and_has_signed_cannot_be_changed(conn: Connection, statement: str) -> None:
    batch_id = await make(conn)
    await walk(conn, batch_id, BatchStatus.SIGNED)

    with pytest.raises((REFUSED, asyncpg.NotNullViolationError)):
        await conn.execute(statement)


async def test_batch_that_is_not_the_sum_of_its_items_is_refused_at_commit(conn: Connection) -> None:
    """P5"""
    with pytest.raises(REFUSED, match="not the sum of its items"):
        await conn.execute(
            """
            WITH made AS (
                INSERT INTO payouts.batch (batch_id, coin, status, amount_atomic, payout_count, fee_rate_min_sat_per_kvb,
                    fee_rate_max_sat_per_kvb, fee_atomic_max, create_time_ms, update_time_ms)
                VALUES (gen_random_uuid(), 'c', 'reserved', 6, 1, 1, 1, 1, 1, 1) RETURNING batch_id
            )
            INSERT INTO payouts.item (payout_id, batch_id, coin, account, amount_atomic)
            SELECT gen_random_uuid(), batch_id, 'c', 'a', 5 FROM made
            """
        )


async def test_fee_above_the_batch_ceiling_is_refused(conn: Connection) -> None:
    """P9"""
    batch = await storage.get_batch(conn, await make(conn))
    assert batch is not None
    with pytest.raises(asyncpg.CheckViolationError, match="batch_fee_below_ceiling"):
        await storage.store_signed(conn, batch, signed(fee_atomic=1_001), now_ms=2)


async def test_the_way_of_a_batch_is_kept(conn: Connection) -> None:
    batch_id = await make(conn)
    await walk(conn, batch_id, BatchStatus.VOIDED)

    rows = await conn.fetch(
        "SELECT from_status, to_status, reason FROM payouts.batch_step WHERE batch_id = $1 ORDER BY step_number",
        batch_id,
    )

    assert [tuple(row) for row in rows] == [
        (None, "reserved", ""),
        ("reserved", "signed", ""),
        ("signed", "review", "because"),
        ("review", "voided", "because"),
    ]
