"""Accounts and transfers of the ledger."""

from dataclasses import replace
from uuid import UUID

import pytest

from ledger import domain
from ledger.domain import (
    OWNER_NETWORK_FEE,
    OWNER_POOL_FEE,
    OWNER_REMAINDER,
    Bucket,
    Code,
    Counters,
    InvalidTransfer,
    LedgerAccount,
    LedgerTotals,
    Phase,
    Transfer,
)

COIN = "litecoin-regtest"
ONE, TWO = UUID(int=1), UUID(int=2)
CREDIT = Transfer(
    transfer_id=ONE,
    debit=domain.coinbase(COIN),
    credit=domain.immature(COIN, "alice"),
    amount_atomic=700,
    phase=Phase.POSTED,
    code=Code.BLOCK_CREDIT,
    reference="ab" * 32,
)
RESERVE = domain.reserve(transfer_id=ONE, coin=COIN, owner="alice", amount_atomic=500, reference="batch-1")

GOOD = {
    "credit": CREDIT,
    "fee": replace(CREDIT, credit=domain.immature(COIN, OWNER_POOL_FEE), code=Code.POOL_FEE),
    "remainder": replace(CREDIT, credit=domain.immature(COIN, OWNER_REMAINDER), code=Code.REMAINDER),
    "maturity": domain.mature(transfer_id=ONE, coin=COIN, owner="alice", amount_atomic=1, reference="x"),
    "fee's maturity": domain.mature(transfer_id=ONE, coin=COIN, owner=OWNER_POOL_FEE, amount_atomic=1, reference="x"),
    "reversal": domain.reverse(CREDIT, transfer_id=TWO),
    "reservation": RESERVE,
    "payout": domain.resolve(RESERVE, transfer_id=TWO, phase=Phase.POST),
    "given up payout": domain.resolve(RESERVE, transfer_id=TWO, phase=Phase.VOID),
    "network fee": domain.network_fee(transfer_id=ONE, coin=COIN, amount_atomic=1, reference="batch-1"),
}

BAD = {
    "nothing": replace(CREDIT, amount_atomic=0),
    "less than nothing": replace(CREDIT, amount_atomic=-1),
    "more than a bigint": replace(CREDIT, amount_atomic=2**63),
    "one account": replace(CREDIT, debit=CREDIT.credit),
    "two coins": replace(CREDIT, credit=domain.immature("bitcoin", "alice")),
    "no reference": replace(CREDIT, reference=""),
    "no owner": replace(CREDIT, credit=domain.immature(COIN, "")),
    "an unknown pool account": replace(CREDIT, credit=domain.immature(COIN, "pool:slush")),
    "an external miner": replace(CREDIT, debit=LedgerAccount(coin=COIN, owner="mallory", bucket=Bucket.EXTERNAL)),
    "a miner's credit for the pool": replace(CREDIT, credit=domain.immature(COIN, OWNER_POOL_FEE)),
    "a fee for a miner": replace(CREDIT, code=Code.POOL_FEE),
    "a credit that is payable at once": replace(CREDIT, credit=domain.payable(COIN, "alice")),
    "a maturity for somebody else": replace(GOOD["maturity"], credit=domain.payable(COIN, "bob")),
    "a payout without reservation": replace(RESERVE, phase=Phase.POSTED),
    "a reserved credit": replace(CREDIT, phase=Phase.PENDING),
    "a payout of the pool": domain.reserve(
        transfer_id=ONE, coin=COIN, owner=OWNER_POOL_FEE, amount_atomic=1, reference="x"
    ),
    "a post of nothing": replace(GOOD["payout"], pending_id=None),
    "a reservation that resolves": replace(RESERVE, pending_id=TWO),
    "a reversal of nothing": replace(GOOD["reversal"], reverses_id=None),
    "a reversal of what is payable": replace(GOOD["reversal"], debit=domain.payable(COIN, "alice")),
    "a network fee of a miner": replace(GOOD["network fee"], debit=domain.payable(COIN, "alice")),
    "a network fee for a miner": replace(GOOD["network fee"], credit=domain.paid(COIN, "alice")),
}


@pytest.mark.parametrize("transfer", GOOD.values(), ids=GOOD.keys())
def test_every_transfer_of_a_block_and_a_payout_keeps_the_rules(transfer):
    domain.check(transfer)


@pytest.mark.parametrize("transfer", BAD.values(), ids=BAD.keys())
def test_a_transfer_that_moves_money_where_it_must_not_is_refused(transfer):
    with pytest.raises(InvalidTransfer) as refusal:
        domain.check(transfer)
    assert refusal.value.problem


def test_a_reservation_lowers_what_is_available_and_its_post_what_is_held():
    """P1, P5: the worked example of the module."""
    account = domain.payable(COIN, "alice")
    held = Counters(credits_posted=500_000)
    reservation = replace(RESERVE, amount_atomic=300_000)
    reserved = held + domain.changes([reservation])[account]
    posted = reserved + domain.changes([domain.resolve(reservation, transfer_id=TWO, phase=Phase.POST)])[account]
    voided = reserved + domain.changes([domain.resolve(reservation, transfer_id=TWO, phase=Phase.VOID)])[account]
    assert (reserved.posted_atomic, reserved.available_atomic) == (500_000, 200_000)
    assert (posted.posted_atomic, posted.available_atomic) == (200_000, 200_000)
    assert (voided.posted_atomic, voided.available_atomic) == (500_000, 500_000)


@pytest.mark.parametrize(
    ("account", "is_overdrawn"),
    [
        (domain.coinbase(COIN), False),
        (domain.payable(COIN, OWNER_POOL_FEE), False),
        (domain.immature(COIN, OWNER_POOL_FEE), True),
        (domain.paid(COIN, OWNER_NETWORK_FEE), True),
        (domain.payable(COIN, "alice"), True),
    ],
)
def test_only_the_coinbase_and_the_fee_that_pays_the_network_may_overdraw(account, is_overdrawn):
    assert domain.overdrawn(account, before=Counters(), change=Counters(debits_posted=1)) is is_overdrawn


def test_a_resolution_and_a_reversal_fit_only_what_they_mirror():
    """P5, R5."""
    assert domain.resolves(GOOD["payout"], RESERVE)
    assert not domain.resolves(GOOD["payout"], replace(RESERVE, amount_atomic=501))
    assert not domain.resolves(GOOD["payout"], replace(RESERVE, transfer_id=TWO))
    assert domain.mirrors(GOOD["reversal"], CREDIT)
    assert not domain.mirrors(GOOD["reversal"], replace(CREDIT, amount_atomic=701))
    assert not domain.mirrors(GOOD["reversal"], replace(CREDIT, credit=domain.immature(COIN, "bob")))


def test_the_totals_of_an_owner_leave_the_network_fee_inside_of_the_pool_fee():
    totals = LedgerTotals(coinbase_atomic=100, payable_atomic=90, pool_fee_atomic=10, network_fee_atomic=3)
    assert totals.owned_atomic == totals.coinbase_atomic
