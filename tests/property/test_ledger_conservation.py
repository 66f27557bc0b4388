"""Money is conserved: random lives of blocks and payouts on a real PostgreSQL, against plain counting."""

import random
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from ledger import domain, storage
from ledger.audit import audit
from ledger.domain import (
    OWNER_POOL_FEE,
    OWNER_REMAINDER,
    Bucket,
    Code,
    Counters,
    LedgerAccount,
    Phase,
    Transfer,
)
from ledger.errors import InsufficientBalance
from runtime.postgres.transactions import transact

COIN = "litecoin-regtest"
MINERS = [f"miner{number}" for number in range(6)]
CALLS = 120


@dataclass
class Book:
    """The test's own books: balances by plain addition, and what can still happen."""

    rng: random.Random
    balances: dict[LedgerAccount, Counters] = field(default_factory=dict)
    done: list[Transfer] = field(default_factory=list)
    immature: list[Transfer] = field(default_factory=list)
    reserved: list[Transfer] = field(default_factory=list)

    def new_id(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128))

    def available(self, account: LedgerAccount) -> int:
        return self.balances.get(account, Counters()).available_atomic

    def record(self, transfers: list[Transfer]) -> None:
        for transfer in transfers:
            for account, delta in domain.effects(transfer):
                self.balances[account] = self.balances.get(account, Counters()) + delta
        self.done += transfers

    def block(self) -> list[Transfer]:
        parts = [(miner, Code.BLOCK_CREDIT) for miner in self.rng.sample(MINERS, self.rng.randint(1, len(MINERS)))]
        parts += [(OWNER_POOL_FEE, Code.POOL_FEE), (OWNER_REMAINDER, Code.REMAINDER)]
        reference = f"{self.rng.getrandbits(256):064x}"
        parts_credited = [
            Transfer(
                transfer_id=self.new_id(),
                debit=domain.coinbase(COIN),
                credit=domain.immature(COIN, owner),
                amount_atomic=self.rng.randint(1, 10**9),
                phase=Phase.POSTED,
                code=code,
                reference=reference,
            )
            for owner, code in parts
        ]
        self.immature += parts_credited
        return parts_credited

    def end_of_credit(self) -> list[Transfer]:
        if not self.immature:
            return []
        credit = self.immature.pop(self.rng.randrange(len(self.immature)))
        if self.rng.random() < 0.3:
            return [domain.reverse(credit, transfer_id=self.new_id())]
        return [
            domain.mature(
                transfer_id=self.new_id(),
                coin=COIN,
                owner=credit.credit.owner,
                amount_atomic=credit.amount_atomic,
                reference=credit.reference,
            )
        ]

    def reservations(self) -> list[Transfer]:
        reservations = []
        for miner in MINERS:
            available = self.available(domain.payable(COIN, miner))
            if available and self.rng.random() < 0.5:
                amount = self.rng.randint(1, available)
                reservations.append(
                    domain.reserve(
                        transfer_id=self.new_id(), coin=COIN, owner=miner, amount_atomic=amount, reference="batch"
                    )
                )
        self.reserved += reservations
        return reservations

    def resolutions(self) -> list[Transfer]:
        if not self.reserved:
            return []
        pending = self.reserved.pop(self.rng.randrange(len(self.reserved)))
        phase = self.rng.choice([Phase.POST, Phase.VOID])
        fee = domain.network_fee(
            transfer_id=self.new_id(), coin=COIN, amount_atomic=self.rng.randint(1, 1000), reference="batch"
        )
        return [domain.resolve(pending, transfer_id=self.new_id(), phase=phase), fee]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_random_credits_reversals_and_payouts_conserve_money(database, seed):
    """R1, R2, R5, P5: after every call the ledger holds what plain addition says, and its audit agrees."""
    await storage.migrate_ledger(database.pool)
    book = Book(random.Random(seed))
    for _ in range(CALLS):
        step = book.rng.choice(
            [book.block, book.end_of_credit, book.end_of_credit, book.reservations, book.resolutions]
        )
        new = step()
        again = book.rng.sample(book.done, min(3, len(book.done)))
        mixed = [*new, *again]
        book.rng.shuffle(mixed)
        applied = await transact(database.pool, lambda conn, mixed=mixed: storage.apply(conn, mixed))
        assert (applied.new, applied.repeated) == (len(new), len(again))
        book.record(new)
        await refuse_too_much(database.pool, book)

    async with database.pool.acquire() as conn:
        for account, counters in book.balances.items():
            assert (await storage.balance(conn, account)).counters == counters, f"seed {seed}"
        totals = await storage.totals(conn, COIN)
        assert totals.coinbase_atomic == totals.owned_atomic
        for miner in MINERS:
            owned = await storage.owner_balance(conn, COIN, miner)
            assert min(owned.immature_atomic, owned.payable_atomic, owned.reserved_atomic, owned.paid_atomic) >= 0
    report = await audit(database.pool, coin_id=COIN)
    assert report.is_ok, f"seed {seed}: {report.findings}"


async def refuse_too_much(pool, book: Book) -> None:
    """One unit more than a miner has is refused, and nothing of the call is kept."""
    miner = book.rng.choice(MINERS)
    account = LedgerAccount(coin=COIN, owner=miner, bucket=Bucket.PAYABLE)
    too_much = domain.reserve(
        transfer_id=book.new_id(),
        coin=COIN,
        owner=miner,
        amount_atomic=book.available(account) + 1,
        reference="batch",
    )
    with pytest.raises(InsufficientBalance):
        await transact(pool, lambda conn: storage.apply(conn, [too_much]))
