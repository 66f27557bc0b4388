"""Somebody changes the books behind the service's back; the audit names the exact difference."""

from typing import Any
from uuid import UUID

import pytest

from coins.bitcoin.address import decode
from ledger.domain import Phase
from payouts.audit import audit
from payouts.domain import BatchStatus, fee_transfer_id, resolution_id
from tests.fakes.payouts_world import COIN, SimulatedBench, World

AMOUNT = 2_000_000


@pytest.fixture
async def bench() -> SimulatedBench:
    return SimulatedBench()


@pytest.fixture
async def world(database: Any, bench: SimulatedBench) -> World:
    """One confirmed batch of two payments."""
    world = await World.make(database.pool, bench)
    await world.miner(AMOUNT)
    await world.miner(3 * AMOUNT)
    await world.pay()
    await world.assert_everybody_paid_once()
    return world


async def tamper(world: World, *statements: tuple[str, *tuple[object, ...]]) -> None:
    """Change rows as a superuser who has switched the guards off."""
    async with world.pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        for statement, *arguments in statements:
            assert await conn.execute(statement, *arguments) not in {"UPDATE 0", "DELETE 0", "INSERT 0 0"}


async def findings(world: World, bench: SimulatedBench | None = None) -> set[str]:
    report = await audit(world.pool, coin_id=COIN.coin_id, wallet=bench.node if bench else None)
    return {str(finding) for finding in report.findings}


async def first(world: World) -> tuple[UUID, UUID, str, int]:
    """Return the batch, and its first payment's id, account and amount."""
    batch = await world.batch()
    async with world.pool.acquire() as conn:
        row = await conn.fetchrow(
            "SELECT payout_id, account, amount_atomic FROM payouts.item ORDER BY item_number LIMIT 1"
        )
    assert row is not None
    return batch.batch_id, row["payout_id"], row["account"], row["amount_atomic"]


async def test_audit_counts_what_it_compared_and_says_what_it_could_not(world: World, bench: SimulatedBench) -> None:
    report = await audit(world.pool, coin_id=COIN.coin_id)
    assert report.is_ok
    assert report.compared == {
        "batch = sum of its items": 2,
        "status = last step": 1,
        "transfers = items": 5,
        "transaction = items": 3,
        "network fees = fees of confirmed batches": 1,
        "reserved balance = open items": 3,
        "paid balance = confirmed items": 2,
    }
    assert report.notes == ("the chain was not asked: no wallet was given",)
    bench.node.go_down()
    report = await audit(world.pool, coin_id=COIN.coin_id, wallet=bench.node)
    assert report.is_ok
    assert "the chain was not asked about" in report.notes[0]


async def test_changed_amount_of_a_payment_is_named(world: World) -> None:
    batch_id, payout_id, account, amount = await first(world)
    await tamper(world, ("UPDATE payouts.item SET amount_atomic = amount_atomic + 1 WHERE payout_id = $1", payout_id))

    name = f"batch {batch_id}"
    payable, paid = f"{COIN.coin_id} {account} payable", f"{COIN.coin_id} {account} paid"
    way = f"from {payable} to {paid}"
    assert await findings(world) == {
        f"batch = sum of its items: {name} amount: expected {4 * AMOUNT + 1}, found {4 * AMOUNT}",
        (
            f"transfers = items: {name} reservation of {account}: expected pending {amount + 1} {way}, "
            f"found pending {amount} {way}"
        ),
        f"transfers = items: {name} payment of {account}: expected post {amount + 1} {way}, found post {amount} {way}",
        f"transaction = items: {name} payment to {account}: expected {amount + 1}, found {amount}",
        f"paid balance = confirmed items: account {account}: expected {amount + 1}, found {amount}",
    }


async def test_payment_that_was_given_to_another_account_is_named(world: World, bench: SimulatedBench) -> None:
    batch_id, payout_id, account, amount = await first(world)
    thief = await bench.new_address()
    await tamper(world, ("UPDATE payouts.item SET account = $2 WHERE payout_id = $1", payout_id, thief))

    found = await findings(world)

    name = f"batch {batch_id}"
    script = decode(COIN, account).script.hex()
    assert f"transaction = items: {name} payment to {thief}: expected {amount}, found no output" in found
    assert f"paid balance = confirmed items: account {thief}: expected {amount}, found 0" in found
    assert f"paid balance = confirmed items: account {account}: expected 0, found {amount}" in found
    assert any("outputs beyond the payments" in finding and f"{amount} to {script}" in finding for finding in found)


async def test_deleted_payment_is_named(world: World) -> None:
    batch_id, payout_id, account, amount = await first(world)
    await tamper(world, ("DELETE FROM payouts.item WHERE payout_id = $1", payout_id))

    found = await findings(world)

    assert f"batch = sum of its items: batch {batch_id} payments: expected 1, found 2" in found
    assert f"paid balance = confirmed items: account {account}: expected 0, found {amount}" in found
    assert any(f"transfer {payout_id}: expected no transfer, found pending {amount}" in finding for finding in found)


async def test_changed_batch_amount_is_named(world: World) -> None:
    batch_id, *_ = await first(world)
    await tamper(world, ("UPDATE payouts.batch SET amount_atomic = amount_atomic - 1",))

    assert await findings(world) == {
        f"batch = sum of its items: batch {batch_id} amount: expected {4 * AMOUNT}, found {4 * AMOUNT - 1}"
    }


async def test_changed_raw_transaction_is_named(world: World) -> None:
    batch_id, _, account, amount = await first(world)
    batch = await world.batch()
    assert batch.raw is not None
    changed = batch.raw.replace(amount.to_bytes(8, "little"), (amount - 7).to_bytes(8, "little"))
    await tamper(world, ("UPDATE payouts.batch SET raw = $1", changed))

    found = await findings(world)

    assert f"transaction = items: batch {batch_id} payment to {account}: expected {amount}, found {amount - 7}" in found
    assert any(finding.startswith(f"transaction = items: batch {batch_id} transaction id") for finding in found)
    assert len(found) == 2


async def test_raw_transaction_that_is_garbage_is_named(world: World) -> None:
    batch_id, *_ = await first(world)
    await tamper(world, (r"UPDATE payouts.batch SET raw = '\x00'",))

    (found,) = await findings(world)

    assert found.startswith(f"transaction = items: batch {batch_id} bytes: expected a transaction, found none")


async def test_changed_transaction_id_is_named_by_bytes_and_by_the_chain(world: World, bench: SimulatedBench) -> None:
    batch_id, *_ = await first(world)
    batch = await world.batch()
    real, paid = batch.txid_hex, f"{batch.amount_atomic} to {batch.payout_count} accounts"
    other = "ab" * 32
    await tamper(world, ("UPDATE payouts.batch SET txid_hex = $1", other))

    assert await findings(world, bench) == {
        f"transaction = items: batch {batch_id} transaction id: expected {other}, found {real}",
        f"chain = batch: batch {batch_id} transaction {other}: expected in the chain, found unknown to the wallet",
        f"wallet sends = batches: transaction {real}: expected nothing to accounts, found {paid}",
    }


async def test_changed_fee_is_named_by_ledger_and_chain(world: World, bench: SimulatedBench) -> None:
    batch_id, *_ = await first(world)
    batch = await world.batch()
    fee = batch.fee_atomic
    await tamper(world, ("UPDATE payouts.batch SET fee_atomic = fee_atomic + 1",))

    way = f"from {COIN.coin_id} pool:fee payable to {COIN.coin_id} pool:network_fee paid"
    assert await findings(world, bench) == {
        f"transfers = items: batch {batch_id} network fee: expected posted {fee + 1} {way}, found posted {fee} {way}",
        f"network fees = fees of confirmed batches: pool:network_fee: expected {fee + 1}, found {fee}",
        f"chain = batch: batch {batch_id} transaction {batch.txid_hex} fee: expected {fee}, found {fee + 1}",
    }


async def test_status_set_back_by_hand_is_named(world: World) -> None:
    """The dangerous one: a confirmed batch made to look unpaid."""
    batch_id, *_ = await first(world)
    await tamper(world, ("UPDATE payouts.batch SET status = 'broadcast', confirm_time_ms = NULL",))

    found = await findings(world)

    assert f"status = last step: batch {batch_id}: expected confirmed, found broadcast" in found
    assert {finding for finding in found if finding.startswith("reserved balance = open items")} == {
        f"reserved balance = open items: account {account}: expected {amount}, found 0"
        for account, amount in world.expected.items()
    }


async def test_ledger_transfer_that_is_missing_is_named(world: World) -> None:
    batch_id, payout_id, account, amount = await first(world)
    post_id = resolution_id(payout_id, Phase.POST)
    await tamper(world, ("DELETE FROM ledger.transfer WHERE transfer_id = $1", post_id))

    (found,) = await findings(world)

    assert found.startswith(f"transfers = items: batch {batch_id} payment of {account}: expected post {amount} from")
    assert found.endswith("found no transfer")


async def test_ledger_fee_that_is_missing_is_named(world: World) -> None:
    batch_id, *_ = await first(world)
    await tamper(world, ("DELETE FROM ledger.transfer WHERE transfer_id = $1", fee_transfer_id(batch_id)))

    (found,) = await findings(world)

    assert f"batch {batch_id} network fee" in found


async def test_ledger_balance_that_was_raised_is_named(world: World) -> None:
    _, _, account, amount = await first(world)
    await tamper(
        world,
        ("UPDATE ledger.account SET credits_posted = credits_posted + 5 WHERE owner = $1 AND bucket = 'paid'", account),
    )

    assert await findings(world) == {
        f"paid balance = confirmed items: account {account}: expected {amount}, found {amount + 5}"
    }


async def test_transaction_that_a_deep_reorganisation_took_back_is_named(world: World, bench: SimulatedBench) -> None:
    """Beyond the confirmations that the operator chose, only the audit can tell."""
    batch_id, *_ = await first(world)
    txid_hex = (await world.batch()).txid_hex
    bench.node.reorganise(4)

    assert await findings(world, bench) == {
        f"chain = batch: batch {batch_id} transaction {txid_hex}: expected in the chain, found 0 confirmations"
    }


async def test_audit_of_open_batches_compares_reservations(database: Any) -> None:
    world = await World.make(database.pool, SimulatedBench())
    account = await world.miner(AMOUNT)
    await world.round()
    assert (await world.batch()).status is BatchStatus.BROADCAST
    await world.assert_books_agree()
    await tamper(
        world, ("UPDATE ledger.account SET debits_pending = 0 WHERE owner = $1 AND bucket = 'payable'", account)
    )

    assert await findings(world) == {f"reserved balance = open items: account {account}: expected {AMOUNT}, found 0"}
