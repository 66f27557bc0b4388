"""The numbers of docs/LEDGER.md, booked and compared."""

from uuid import UUID

import pytest

from ledger import domain, storage
from ledger.audit import audit
from ledger.domain import OWNER_POOL_FEE, LedgerTotals, OwnerBalance, Phase
from rewards.distribution import distribute_by_work
from rewards.transfers import credit_transfers, maturity_transfers, reversal_transfers
from runtime.postgres.transactions import transact

COIN = "litecoin"
BLOCK = "ab" * 32
ALICE = 353_571_429


@pytest.fixture
async def book(database):
    await storage.migrate_ledger(database.pool)

    async def book(transfers) -> OwnerBalance:
        async def work(conn) -> OwnerBalance:
            await storage.apply(conn, transfers)
            return await storage.owner_balance(conn, COIN, "alice")

        return await transact(database.pool, work)

    return book


async def test_the_worked_example_holds_to_the_unit(database, book):
    """R1, R5, P5: the table a miner can check."""
    distribution = distribute_by_work(625_000_000, {"alice": 4, "bob": 2, "carol": 1}, fee_ppm=10_000)
    assert {part.account: part.amount_atomic for part in distribution.credits} == {
        "alice": ALICE,
        "bob": 176_785_714,
        "carol": 88_392_857,
    }
    assert distribution.pool_fee_atomic == 6_250_000

    first, second = (
        credit_transfers(distribution, coin=COIN, block_hash_hex=BLOCK, generation=generation) for generation in (1, 2)
    )
    assert await book(first) == OwnerBalance(immature_atomic=ALICE)
    assert await book(reversal_transfers(first, generation=1)) == OwnerBalance()
    assert await book(second) == OwnerBalance(immature_atomic=ALICE)
    assert await book(maturity_transfers(second, generation=2)) == OwnerBalance(payable_atomic=ALICE)

    reservation = domain.reserve(
        transfer_id=UUID(int=1), coin=COIN, owner="alice", amount_atomic=ALICE, reference="batch-1"
    )
    assert await book([reservation]) == OwnerBalance(reserved_atomic=ALICE)
    fee = domain.network_fee(transfer_id=UUID(int=2), coin=COIN, amount_atomic=1410, reference="batch-1")
    post = domain.resolve(reservation, transfer_id=UUID(int=3), phase=Phase.POST)
    assert await book([post, fee]) == OwnerBalance(paid_atomic=ALICE)

    async with database.pool.acquire() as conn:
        totals = await storage.totals(conn, COIN)
        kept = await storage.balance(conn, domain.payable(COIN, OWNER_POOL_FEE))
    assert totals == LedgerTotals(
        coinbase_atomic=625_000_000,
        payable_atomic=265_178_571,
        paid_atomic=ALICE,
        pool_fee_atomic=6_250_000,
        network_fee_atomic=1410,
    )
    assert totals.owned_atomic == totals.coinbase_atomic
    assert kept.posted_atomic == 6_250_000 - 1410
    assert (await audit(database.pool, coin_id=COIN)).is_ok
