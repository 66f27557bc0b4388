"""Apply transfers and read balances, inside the caller's database transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from ledger.domain import Counters, LedgerAccount, LedgerTotals, OwnerBalance, Transfer
from runtime.postgres.pool import Connection, Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a call of `apply` did: transfers that took effect, and transfers that already had."""

    new: int
    repeated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountBalance:
    """An account and its counters."""

    account: LedgerAccount
    counters: Counters

    @property
    def posted_atomic(self) -> int:
        """Return what the account holds, reservations included."""
        return self.counters.posted_atomic

    @property
    def available_atomic(self) -> int:
        """Return what the account may still give away."""
        return self.counters.available_atomic

    @property
    def reserved_atomic(self) -> int:
        """Return what is reserved to be given away."""
        return self.counters.debits_pending


async def migrate_ledger(pool: Pool) -> int:
    """Bring the schema `ledger` up to date; return how many migrations were applied."""
    raise NotImplementedError


async def apply(conn: Connection, transfers: Sequence[Transfer]) -> Applied:
    """Apply transfers, all or none, inside the caller's database transaction.

    Raises:
        InvalidTransfer: When a transfer breaks a rule of the domain.
        TransferConflict: When an id is taken by a transfer with other content.
        PendingUnknown: When a POST or VOID fits no pending transfer.
        PendingResolved: When its pending transfer is already resolved by another transfer.
        ReversalInvalid: When a REVERSAL fits no transfer, or a transfer already reversed.
        InsufficientBalance: When an account would give more than it has.
    """
    raise NotImplementedError


async def balance(conn: Connection, account: LedgerAccount) -> AccountBalance:
    """Return one account's balance; zero when it was never used."""
    raise NotImplementedError


async def balances(conn: Connection, coin: str, owners: Iterable[str]) -> dict[LedgerAccount, AccountBalance]:
    """Return the balances of all buckets of some owners; accounts never used are left out."""
    raise NotImplementedError


async def owner_balance(conn: Connection, coin: str, owner: str) -> OwnerBalance:
    """Return what a miner has in each bucket."""
    raise NotImplementedError


async def payable_accounts(conn: Connection, coin: str, minimum: int) -> list[tuple[str, int]]:
    """Return miners with at least `minimum` (> 0) available to be paid: (owner, available_atomic), by owner."""
    raise NotImplementedError


async def transfers_by_id(conn: Connection, transfer_ids: Iterable[UUID]) -> dict[UUID, Transfer]:
    """Return those of the transfers that exist."""
    raise NotImplementedError


async def transfers_by_reference(conn: Connection, coin: str, reference: str) -> list[Transfer]:
    """Return the transfers of one block or payout batch, in the order in which they were applied."""
    raise NotImplementedError


async def totals(conn: Connection, coin: str) -> LedgerTotals:
    """Return the sums over a coin's ledger."""
    raise NotImplementedError
