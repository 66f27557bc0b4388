"""The ledger's audit against an attacker who may do anything in SQL."""

from uuid import UUID

import pytest

from ledger import domain, storage
from ledger.audit import audit
from ledger.domain import Code, Phase, Transfer
from runtime.postgres.pool import Pool
from runtime.postgres.transactions import transact

COIN = "litecoin-regtest"
CREDIT_ID, MATURE_ID, RESERVE_ID, POST_ID, OTHER_ID, REVERSAL_ID = (UUID(int=number) for number in range(1, 7))


def credit(transfer_id: UUID, owner: str, amount: int) -> Transfer:
    return Transfer(
        transfer_id=transfer_id,
        debit=domain.coinbase(COIN),
        credit=domain.immature(COIN, owner),
        amount_atomic=amount,
        phase=Phase.POSTED,
        code=Code.BLOCK_CREDIT,
        reference="ab" * 32,
    )


@pytest.fixture
async def pool(database) -> Pool:
    await storage.migrate_ledger(database.pool)
    reservation = domain.reserve(
        transfer_id=RESERVE_ID, coin=COIN, owner="alice", amount_atomic=500, reference="batch-1"
    )
    other = credit(OTHER_ID, "bob", 300)
    transfers = [
        credit(CREDIT_ID, "alice", 700),
        domain.mature(transfer_id=MATURE_ID, coin=COIN, owner="alice", amount_atomic=700, reference="ab" * 32),
        reservation,
        domain.resolve(reservation, transfer_id=POST_ID, phase=Phase.POST),
        other,
        domain.reverse(other, transfer_id=REVERSAL_ID),
        credit(UUID(int=7), "bob", 11),
    ]
    await transact(database.pool, lambda conn: storage.apply(conn, transfers))
    return database.pool


async def tamper(pool: Pool, *statements: str) -> None:
    async def work(conn) -> None:
        await conn.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            await conn.execute(statement)

    await transact(pool, work)


async def found(pool: Pool) -> list[tuple[str, str, str]]:
    report = await audit(pool, coin_id=COIN)
    return [(finding.subject, finding.expected, finding.actual) for finding in report.findings]


async def test_untouched_books_agree_and_the_report_says_how_much_was_compared(pool):
    report = await audit(pool, coin_id=COIN)
    assert report.is_ok
    assert set(report.compared.values()) == {5 * 4, 2, 1, 5, 7}


async def test_a_changed_balance_is_named(pool):
    await tamper(pool, "UPDATE ledger.account SET credits_posted = 9700 WHERE owner = 'alice' AND bucket = 'payable'")
    assert await found(pool) == [
        (f"{COIN} alice payable credits_posted", "700", "9700"),
        (f"{COIN} all accounts, posted", "2511", "11511"),
        (f"{COIN} ledger", "711", "9711"),
    ]


async def test_two_balances_changed_to_keep_the_sums_are_named(pool):
    await tamper(
        pool,
        "UPDATE ledger.account SET credits_posted = credits_posted - 100 WHERE owner = 'alice' AND bucket = 'payable'",
        "UPDATE ledger.account SET credits_posted = credits_posted + 100 WHERE owner = 'bob' AND bucket = 'immature'",
    )
    assert sorted(await found(pool)) == [
        (f"{COIN} alice payable credits_posted", "700", "600"),
        (f"{COIN} bob immature credits_posted", "311", "411"),
    ]


async def test_a_changed_transfer_shows_in_both_its_accounts(pool):
    await tamper(pool, f"UPDATE ledger.transfer SET amount_atomic = 9000 WHERE transfer_id = '{CREDIT_ID}'")
    assert await found(pool) == [
        (f"{COIN} alice immature credits_posted", "9000", "700"),
        (f"{COIN} chain:coinbase external debits_posted", "9311", "1011"),
    ]


async def test_a_changed_payout_is_named_with_its_reservation(pool):
    """P5: the posted amount is the reserved amount."""
    await tamper(
        pool,
        "ALTER TABLE ledger.transfer DROP CONSTRAINT resolves_what_was_reserved",
        f"UPDATE ledger.transfer SET amount_atomic = 5000 WHERE transfer_id = '{POST_ID}'",
    )
    differences = await found(pool)
    assert (
        f"transfer {POST_ID}",
        f"the amount of the reservation {RESERVE_ID}, 500",
        "payout post of 5000 from alice payable to alice paid",
    ) in differences
    assert (f"{COIN} alice paid credits_posted", "5000", "500") in differences


async def test_a_removed_transfer_shows_in_both_its_accounts(pool):
    await tamper(pool, f"DELETE FROM ledger.transfer WHERE transfer_id = '{MATURE_ID}'")
    assert await found(pool) == [
        (f"{COIN} alice immature debits_posted", "0", "700"),
        (f"{COIN} alice payable credits_posted", "0", "700"),
    ]


async def test_a_removed_account_is_named(pool):
    await tamper(pool, "DELETE FROM ledger.account WHERE owner = 'alice' AND bucket = 'paid'")
    differences = await found(pool)
    assert any("(missing) credits_posted" in subject and expected == "500" for subject, expected, _ in differences)
    assert (
        f"transfer {POST_ID}",
        "accounts that exist",
        "payout post of 500 from alice payable to None",
    ) in differences


async def test_a_reversal_of_another_amount_is_named(pool):
    """R5."""
    await tamper(
        pool,
        f"UPDATE ledger.transfer SET amount_atomic = 200 WHERE transfer_id = '{REVERSAL_ID}'",
    )
    assert (
        f"transfer {REVERSAL_ID}",
        f"the amount of the transfer it reverses {OTHER_ID}, 300",
        "reversal posted of 200 from bob immature to chain:coinbase external",
    ) in await found(pool)


async def test_an_overdrawn_account_is_named(pool):
    await tamper(
        pool,
        "ALTER TABLE ledger.account DROP CONSTRAINT not_overdrawn",
        "UPDATE ledger.account SET debits_pending = 900 WHERE owner = 'alice' AND bucket = 'payable'",
    )
    assert (f"{COIN} alice payable available", "at least 0", "-700") in await found(pool)
