"""The ledger on a real PostgreSQL."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from ledger import domain, storage
from ledger.domain import (
    OWNER_NETWORK_FEE,
    OWNER_POOL_FEE,
    Bucket,
    Code,
    LedgerAccount,
    LedgerTotals,
    OwnerBalance,
    Phase,
    Transfer,
)
from ledger.errors import InsufficientBalance, PendingResolved, PendingUnknown, ReversalInvalid, TransferConflict
from ledger.storage import Applied
from runtime.postgres.pool import Pool
from runtime.postgres.transactions import transact

COIN = "litecoin-regtest"
BLOCK = "ab" * 32


@pytest.fixture
async def pool(database) -> Pool:
    await storage.migrate_ledger(database.pool)
    return database.pool


def credit(owner: str, amount: int, *, transfer_id: UUID | None = None, reference: str = BLOCK) -> Transfer:
    return Transfer(
        transfer_id=transfer_id or uuid4(),
        debit=domain.coinbase(COIN),
        credit=domain.immature(COIN, owner),
        amount_atomic=amount,
        phase=Phase.POSTED,
        code=Code.BLOCK_CREDIT,
        reference=reference,
    )


def matured(owner: str, amount: int) -> list[Transfer]:
    return [
        credit(owner, amount),
        domain.mature(transfer_id=uuid4(), coin=COIN, owner=owner, amount_atomic=amount, reference=BLOCK),
    ]


def reserved(owner: str, amount: int) -> Transfer:
    return domain.reserve(transfer_id=uuid4(), coin=COIN, owner=owner, amount_atomic=amount, reference="batch-1")


async def apply(pool: Pool, *transfers: Transfer) -> Applied:
    return await transact(pool, lambda conn: storage.apply(conn, transfers))


async def owner_balance(pool: Pool, owner: str) -> OwnerBalance:
    return await transact(pool, lambda conn: storage.owner_balance(conn, COIN, owner))


async def test_money_goes_from_the_coinbase_over_immature_and_payable_to_paid(pool):
    """R1, P5: each step moves the whole amount, and the totals agree after every step."""
    await apply(pool, credit("alice", 700), credit("bob", 300))
    assert await owner_balance(pool, "alice") == OwnerBalance(immature_atomic=700)

    await apply(pool, domain.mature(transfer_id=uuid4(), coin=COIN, owner="alice", amount_atomic=700, reference=BLOCK))
    reservation = reserved("alice", 500)
    await apply(pool, reservation)
    assert await owner_balance(pool, "alice") == OwnerBalance(payable_atomic=200, reserved_atomic=500)

    await apply(pool, domain.resolve(reservation, transfer_id=uuid4(), phase=Phase.POST))
    assert await owner_balance(pool, "alice") == OwnerBalance(payable_atomic=200, paid_atomic=500)
    totals = await transact(pool, lambda conn: storage.totals(conn, COIN))
    assert totals == LedgerTotals(coinbase_atomic=1000, immature_atomic=300, payable_atomic=200, paid_atomic=500)
    assert totals.owned_atomic == totals.coinbase_atomic


async def test_the_same_transfer_twice_has_one_effect(pool):
    """R2: idempotent by transfer id, also within one call."""
    transfer = credit("alice", 700)
    assert await apply(pool, transfer, transfer) == Applied(new=1, repeated=1)
    assert await apply(pool, transfer, credit("bob", 1)) == Applied(new=1, repeated=1)
    assert await owner_balance(pool, "alice") == OwnerBalance(immature_atomic=700)


@pytest.mark.parametrize(
    ("other", "field"),
    [({"amount": 701}, "amount_atomic"), ({"owner": "bob"}, "credit"), ({"reference": "cd" * 32}, "reference")],
)
async def test_the_same_id_with_other_content_is_refused_and_named(pool, other, field):
    """R2: a second writer with the same id and other content is a defect, and changes nothing."""
    transfer = credit("alice", 700)
    await apply(pool, transfer)
    arguments = {"owner": "alice", "amount": 700} | other
    with pytest.raises(TransferConflict) as refusal:
        await apply(pool, credit("carol", 5), credit(**arguments, transfer_id=transfer.transfer_id))
    assert refusal.value.field == field
    assert await owner_balance(pool, "carol") == OwnerBalance()


async def test_an_account_cannot_give_more_than_it_has(pool):
    """P1: what is reserved is not available to another payout."""
    await apply(pool, *matured("alice", 700))
    await apply(pool, reserved("alice", 500))
    with pytest.raises(InsufficientBalance) as refusal:
        await apply(pool, reserved("alice", 201))
    assert (refusal.value.account, refusal.value.wanted, refusal.value.available) == (
        domain.payable(COIN, "alice"),
        201,
        200,
    )


async def test_a_voided_reservation_is_payable_again(pool):
    await apply(pool, *matured("alice", 700))
    reservation = reserved("alice", 700)
    await apply(pool, reservation)
    await apply(pool, domain.resolve(reservation, transfer_id=uuid4(), phase=Phase.VOID))
    assert await owner_balance(pool, "alice") == OwnerBalance(payable_atomic=700)


async def test_a_reservation_is_resolved_once(pool):
    """P5: a payout cannot be posted twice, nor voided after it was posted."""
    await apply(pool, *matured("alice", 700))
    reservation = reserved("alice", 300)
    await apply(pool, reservation)
    post = domain.resolve(reservation, transfer_id=uuid4(), phase=Phase.POST)
    await apply(pool, post)
    assert await apply(pool, post) == Applied(new=0, repeated=1)
    with pytest.raises(PendingResolved) as refusal:
        await apply(pool, domain.resolve(reservation, transfer_id=uuid4(), phase=Phase.VOID))
    assert refusal.value.resolved_by == post.transfer_id


async def test_a_resolution_needs_its_reservation(pool):
    with pytest.raises(PendingUnknown):
        await apply(pool, domain.resolve(reserved("alice", 300), transfer_id=uuid4(), phase=Phase.POST))


async def test_a_reversal_mirrors_a_transfer_once(pool):
    """R5: an orphaned block's credit goes back once."""
    original = credit("alice", 700)
    await apply(pool, original, credit("alice", 50))
    await apply(pool, domain.reverse(original, transfer_id=uuid4()))
    assert await owner_balance(pool, "alice") == OwnerBalance(immature_atomic=50)
    with pytest.raises(ReversalInvalid):
        await apply(pool, domain.reverse(original, transfer_id=uuid4()))
    with pytest.raises(ReversalInvalid):
        await apply(pool, domain.reverse(credit("alice", 1), transfer_id=uuid4()))


async def test_network_fees_come_from_the_pool_fee_which_may_overdraw(pool):
    await apply(pool, domain.network_fee(transfer_id=uuid4(), coin=COIN, amount_atomic=40, reference="batch-1"))
    fee = await transact(pool, lambda conn: storage.balance(conn, domain.payable(COIN, OWNER_POOL_FEE)))
    spent = await transact(pool, lambda conn: storage.balance(conn, domain.paid(COIN, OWNER_NETWORK_FEE)))
    assert (fee.posted_atomic, spent.posted_atomic) == (-40, 40)


async def test_payable_accounts_are_miners_with_enough(pool):
    fee = LedgerAccount(coin=COIN, owner=OWNER_POOL_FEE, bucket=Bucket.IMMATURE)
    await apply(
        pool,
        *matured("bob", 100),
        *matured("alice", 99),
        *matured("carol", 500),
        Transfer(
            transfer_id=uuid4(),
            debit=domain.coinbase(COIN),
            credit=fee,
            amount_atomic=900,
            phase=Phase.POSTED,
            code=Code.POOL_FEE,
            reference=BLOCK,
        ),
        domain.mature(transfer_id=uuid4(), coin=COIN, owner=OWNER_POOL_FEE, amount_atomic=900, reference=BLOCK),
    )
    await apply(pool, reserved("carol", 350))
    assert await transact(pool, lambda conn: storage.payable_accounts(conn, COIN, 100)) == [
        ("bob", 100),
        ("carol", 150),
    ]


async def test_a_call_outside_of_a_transaction_is_refused(pool):
    async with pool.acquire() as conn:
        with pytest.raises(RuntimeError, match="inside a transaction"):
            await storage.apply(conn, [credit("alice", 1)])


async def test_a_rolled_back_transaction_leaves_nothing(pool):
    transfer = credit("alice", 700)

    async def fail(conn) -> None:
        await storage.apply(conn, [transfer])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await transact(pool, fail)
    assert await owner_balance(pool, "alice") == OwnerBalance()
    assert await apply(pool, transfer) == Applied(new=1, repeated=0)


async def test_many_writers_in_opposite_orders_do_not_lose_or_double_anything(pool):
    """R2: concurrent calls with shared accounts and shared ids end with the exact sum."""
    owners = [f"miner{i}" for i in range(20)]
    shared = [credit(owner, 1000) for owner in owners]
    own = [[credit(owner, index + 1) for owner in owners] for index in range(6)]
    results = await asyncio.gather(
        *(
            apply(pool, *(reversed([*transfers, *shared]) if index % 2 else [*transfers, *shared]))
            for index, transfers in enumerate(own)
        )
    )
    assert sum(result.new for result in results) == 6 * 20 + 20
    for owner in owners:
        assert await owner_balance(pool, owner) == OwnerBalance(immature_atomic=1000 + 21)


async def test_two_reservations_at_once_cannot_both_take_the_balance(pool):
    """P1, P4: the lock of the account decides."""
    await apply(pool, *matured("alice", 700))
    results = await asyncio.gather(
        apply(pool, reserved("alice", 400)), apply(pool, reserved("alice", 400)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Applied", "InsufficientBalance"]


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE ledger.transfer SET amount_atomic = 1", "only appended to"),
        ("DELETE FROM ledger.transfer", "only appended to"),
        ("TRUNCATE ledger.transfer CASCADE", "only appended to"),
        ("UPDATE ledger.account SET credits_posted = credits_posted + 1", "only appended to"),
        ("DELETE FROM ledger.account", "only appended to"),
        (
            "INSERT INTO ledger.account (coin, owner, bucket, credits_posted) VALUES ('c', 'mallory', 'payable', 9)",
            "opened with nothing",
        ),
        ("INSERT INTO ledger.account (coin, owner, bucket) VALUES ('c', 'mallory', 'external')", "external"),
        ("INSERT INTO ledger.account (coin, owner, bucket) VALUES ('c', 'pool:slush', 'payable')", "owner_is_known"),
    ],
)
async def test_sql_refuses_to_change_the_books_past_a_transfer(pool, statement, error):
    """STYLE 7: each invariant stands in SQL as well."""
    await apply(pool, credit("alice", 700))
    with pytest.raises(asyncpg.PostgresError, match=error):
        await transact(pool, lambda conn: conn.execute(statement))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"amount_atomic": 0}, "amount_atomic"),
        ({"credit": ("alice", "immature"), "debit": ("alice", "immature")}, "two_accounts"),
        ({"credit": ("alice", "payable")}, "does not move money as its code says"),
        ({"code": "maturity", "debit": ("alice", "immature"), "credit": ("bob", "payable")}, "does not move money"),
        ({"code": "maturity", "debit": ("bob", "immature"), "credit": ("bob", "payable")}, "not_overdrawn"),
        ({"phase": "pending"}, "only_payouts_are_reserved"),
        (
            {"code": "payout", "phase": "post", "debit": ("bob", "payable"), "credit": ("bob", "paid")},
            "resolving_names_a_pending_transfer",
        ),
        (
            {"code": "reversal", "debit": ("alice", "immature"), "credit": ("chain:coinbase", "external")},
            "names_a_transfer",
        ),
        (
            {
                "code": "payout",
                "phase": "post",
                "debit": ("bob", "payable"),
                "credit": ("bob", "paid"),
                "pending_id": UUID(int=7),
            },
            "resolves_what_was_reserved",
        ),
    ],
)
async def test_sql_refuses_a_transfer_that_the_domain_would_refuse(pool, change, error):
    """STYLE 7: the constraints hold without the Python in front of them."""
    await apply(pool, credit("alice", 700), *matured("bob", 10))
    row = {
        "amount_atomic": 5,
        "debit": ("chain:coinbase", "external"),
        "credit": ("alice", "immature"),
        "phase": "posted",
        "code": "block_credit",
        "pending_id": None,
    } | change

    async def insert(conn) -> None:
        ids = []
        for owner, bucket in (row["debit"], row["credit"]):
            await conn.execute(
                "INSERT INTO ledger.account (coin, owner, bucket) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                COIN,
                owner,
                bucket,
            )
            ids.append(
                await conn.fetchval(
                    "SELECT account_id FROM ledger.account WHERE coin = $1 AND owner = $2 AND bucket = $3",
                    COIN,
                    owner,
                    bucket,
                )
            )
        await conn.execute(
            """
            INSERT INTO ledger.transfer (transfer_id, coin, debit_account_id, credit_account_id, amount_atomic, phase,
                code, reference, pending_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'x', $8)
            """,
            uuid4(),
            COIN,
            *ids,
            row["amount_atomic"],
            row["phase"],
            row["code"],
            row["pending_id"],
        )

    with pytest.raises(asyncpg.PostgresError, match=error):
        await transact(pool, insert)


async def test_ten_thousand_transfers_are_applied_in_one_call(pool):
    transfers = [credit(f"miner{index % 2000}", index + 1) for index in range(10_000)]
    assert await apply(pool, *transfers) == Applied(new=10_000, repeated=0)
    assert await apply(pool, *transfers) == Applied(new=0, repeated=10_000)
    totals = await transact(pool, lambda conn: storage.totals(conn, COIN))
    assert totals.coinbase_atomic == totals.immature_atomic == 10_000 * 10_001 // 2
