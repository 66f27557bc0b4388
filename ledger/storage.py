"""Apply transfers and read balances, inside the caller's database transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from uuid import UUID

import asyncpg

from ledger import domain
from ledger.domain import (
    OWNER_COINBASE,
    OWNER_NETWORK_FEE,
    OWNER_POOL_FEE,
    OWNER_REMAINDER,
    Bucket,
    Code,
    Counters,
    LedgerAccount,
    LedgerTotals,
    OwnerBalance,
    Phase,
    Transfer,
)
from ledger.errors import InsufficientBalance, PendingResolved, PendingUnknown, ReversalInvalid, TransferConflict
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Connection, Pool

_COUNTERS = "debits_posted, credits_posted, debits_pending, credits_pending"

_TRACED_TRANSFERS_MAX = 20_000

_SELECT_TRANSFER = """
    SELECT t.transfer_id, t.coin, d.owner AS debit_owner, d.bucket AS debit_bucket, c.owner AS credit_owner,
        c.bucket AS credit_bucket, t.amount_atomic, t.phase, t.code, t.reference, t.pending_id, t.reverses_id
    FROM ledger.transfer t
    JOIN ledger.account d ON d.account_id = t.debit_account_id
    JOIN ledger.account c ON c.account_id = t.credit_account_id
"""


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
    return await migrate(pool, schema="ledger", package="ledger")


async def apply(conn: Connection, transfers: Sequence[Transfer]) -> Applied:
    """Apply transfers, all or none, inside the caller's database transaction.

    A call is judged as a whole: the order of its transfers does not matter. Accounts are locked in the order of their
    ids, so two calls wait for one another and cannot block each other for good.

    Raises:
        InvalidTransfer: When a transfer breaks a rule of the domain.
        TransferConflict: When an id is taken by a transfer with other content.
        PendingUnknown: When a POST or VOID fits no pending transfer.
        PendingResolved: When its pending transfer is already resolved by another transfer.
        ReversalInvalid: When a REVERSAL fits no transfer, or a transfer already reversed.
        InsufficientBalance: When an account would give more than it has.
    """
    if not conn.is_in_transaction():
        raise RuntimeError("ledger transfers are applied inside a transaction of the caller")
    wanted = _distinct(transfers)
    if not wanted:
        return Applied(new=0, repeated=len(transfers))
    locked = await _lock_accounts(conn, wanted.values())
    existing = await transfers_by_id(conn, wanted)
    for transfer_id, found in existing.items():
        _require_same(wanted[transfer_id], found)
    new = [transfer for transfer_id, transfer in wanted.items() if transfer_id not in existing]
    if new:
        await _check_resolutions(conn, new)
        await _check_reversals(conn, new)
        _check_balances(locked, new)
        await _append(conn, locked, new)
    return Applied(new=len(new), repeated=len(transfers) - len(new))


async def balance(conn: Connection, account: LedgerAccount) -> AccountBalance:
    """Return one account's balance; zero when it was never used."""
    row = await conn.fetchrow(
        f"SELECT {_COUNTERS} FROM ledger.account WHERE coin = $1 AND owner = $2 AND bucket = $3",
        account.coin,
        account.owner,
        account.bucket.value,
    )
    return AccountBalance(account=account, counters=Counters(**row) if row else Counters())


async def balances(conn: Connection, coin: str, owners: Iterable[str]) -> dict[LedgerAccount, AccountBalance]:
    """Return the balances of all buckets of some owners; accounts never used are left out."""
    rows = await conn.fetch(
        f"SELECT owner, bucket, {_COUNTERS} FROM ledger.account WHERE coin = $1 AND owner = ANY($2::text[])",
        coin,
        list(owners),
    )
    found: dict[LedgerAccount, AccountBalance] = {}
    for owner, bucket, *counters in rows:
        account = LedgerAccount(coin=coin, owner=owner, bucket=Bucket(bucket))
        found[account] = AccountBalance(account=account, counters=_counters(counters))
    return found


async def owner_balance(conn: Connection, coin: str, owner: str) -> OwnerBalance:
    """Return what a miner has in each bucket."""
    found = await balances(conn, coin, [owner])
    nothing = Counters()

    def of(account: LedgerAccount) -> Counters:
        return found[account].counters if account in found else nothing

    payable = of(domain.payable(coin, owner))
    return OwnerBalance(
        immature_atomic=of(domain.immature(coin, owner)).posted_atomic,
        payable_atomic=payable.available_atomic,
        reserved_atomic=payable.debits_pending,
        paid_atomic=of(domain.paid(coin, owner)).posted_atomic,
    )


async def payable_accounts(conn: Connection, coin: str, minimum: int) -> list[tuple[str, int]]:
    """Return miners with at least `minimum` (> 0) available to be paid: (owner, available_atomic), by owner."""
    rows = await conn.fetch(
        """
        SELECT owner, credits_posted - debits_posted - debits_pending AS available
        FROM ledger.account
        WHERE coin = $1 AND bucket = 'payable' AND owner !~ '^(chain|pool):'
            AND credits_posted - debits_posted - debits_pending >= greatest($2::bigint, 1)
        ORDER BY owner COLLATE "C"
        """,
        coin,
        minimum,
    )
    return [(row["owner"], row["available"]) for row in rows]


async def transfers_by_id(conn: Connection, transfer_ids: Iterable[UUID]) -> dict[UUID, Transfer]:
    """Return those of the transfers that exist."""
    rows = await conn.fetch(_SELECT_TRANSFER + "WHERE t.transfer_id = ANY($1::uuid[])", list(transfer_ids))
    return {row["transfer_id"]: _transfer(row) for row in rows}


async def transfers_by_reference(conn: Connection, coin: str, reference: str) -> list[Transfer]:
    """Return the transfers of one block or payout batch, in the order in which they were applied."""
    rows = await conn.fetch(
        _SELECT_TRANSFER + "WHERE t.coin = $1 AND t.reference = $2 ORDER BY t.transfer_seq", coin, reference
    )
    return [_transfer(row) for row in rows]


async def totals(conn: Connection, coin: str) -> LedgerTotals:
    """Return the sums over a coin's ledger."""
    rows = await conn.fetch(
        f"""
        SELECT
            coalesce(-sum(posted) FILTER (WHERE owner = '{OWNER_COINBASE}'), 0)::bigint AS coinbase_atomic,
            coalesce(sum(posted) FILTER (WHERE is_miner AND bucket = 'immature'), 0)::bigint AS immature_atomic,
            coalesce(sum(posted - debits_pending) FILTER (WHERE is_miner AND bucket = 'payable'), 0)::bigint
                AS payable_atomic,
            coalesce(sum(debits_pending) FILTER (WHERE is_miner AND bucket = 'payable'), 0)::bigint AS reserved_atomic,
            coalesce(sum(posted) FILTER (WHERE is_miner AND bucket = 'paid'), 0)::bigint AS paid_atomic,
            coalesce(sum(posted) FILTER (WHERE owner IN ('{OWNER_POOL_FEE}', '{OWNER_NETWORK_FEE}')), 0)::bigint
                AS pool_fee_atomic,
            coalesce(sum(posted) FILTER (WHERE owner = '{OWNER_REMAINDER}'), 0)::bigint AS remainder_atomic,
            coalesce(sum(posted) FILTER (WHERE owner = '{OWNER_NETWORK_FEE}'), 0)::bigint AS network_fee_atomic
        FROM (
            SELECT owner, bucket, debits_pending, credits_posted - debits_posted AS posted,
                owner !~ '^(chain|pool):' AS is_miner
            FROM ledger.account WHERE coin = $1
        ) AS account
        """,
        coin,
    )
    return LedgerTotals(**rows[0])


def _distinct(transfers: Sequence[Transfer]) -> dict[UUID, Transfer]:
    wanted: dict[UUID, Transfer] = {}
    for transfer in transfers:
        domain.check(transfer)
        if transfer.transfer_id in wanted:
            _require_same(transfer, wanted[transfer.transfer_id])
        wanted[transfer.transfer_id] = transfer
    return wanted


def _require_same(transfer: Transfer, other: Transfer) -> None:
    if transfer == other:
        return
    different = next(
        field.name
        for field in fields(transfer)
        if field.compare and getattr(transfer, field.name) != getattr(other, field.name)
    )
    raise TransferConflict(transfer.transfer_id, different)


async def _lock_accounts(conn: Connection, transfers: Iterable[Transfer]) -> dict[LedgerAccount, tuple[int, Counters]]:
    accounts = sorted({account for transfer in transfers for account in (transfer.debit, transfer.credit)})
    keys = (
        [account.coin for account in accounts],
        [account.owner for account in accounts],
        [account.bucket.value for account in accounts],
    )
    await conn.execute(
        """
        INSERT INTO ledger.account (coin, owner, bucket)
        SELECT wanted.coin, wanted.owner, wanted.bucket
        FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS wanted (coin, owner, bucket, position)
        LEFT JOIN ledger.account known USING (coin, owner, bucket)
        WHERE known.account_id IS NULL
        ORDER BY wanted.position
        ON CONFLICT (coin, owner, bucket) DO NOTHING
        """,
        *keys,
    )
    rows = await conn.fetch(
        f"""
        SELECT account_id, coin, owner, bucket, {_COUNTERS}
        FROM ledger.account
        WHERE account_id IN (
            SELECT a.account_id FROM ledger.account a
            JOIN unnest($1::text[], $2::text[], $3::text[]) AS wanted (coin, owner, bucket) USING (coin, owner, bucket)
        )
        ORDER BY account_id FOR NO KEY UPDATE
        """,
        *keys,
    )
    return {
        LedgerAccount(coin=coin, owner=owner, bucket=Bucket(bucket)): (account_id, _counters(counters))
        for account_id, coin, owner, bucket, *counters in rows
    }


async def _check_resolutions(conn: Connection, new: Sequence[Transfer]) -> None:
    resolving = {transfer.transfer_id: transfer.pending_id for transfer in new if transfer.pending_id is not None}
    if not resolving:
        return
    named = await _named(conn, resolving.values(), new)
    rows = await conn.fetch(
        "SELECT pending_id, transfer_id FROM ledger.transfer WHERE pending_id = ANY($1::uuid[])",
        list(resolving.values()),
    )
    resolved: dict[UUID, UUID] = {row["pending_id"]: row["transfer_id"] for row in rows}
    for transfer in new:
        if transfer.pending_id is None:
            continue
        pending = named.get(transfer.pending_id)
        if pending is None or not domain.resolves(transfer, pending):
            raise PendingUnknown(transfer.transfer_id, transfer.pending_id)
        if transfer.pending_id in resolved:
            raise PendingResolved(transfer.transfer_id, transfer.pending_id, resolved[transfer.pending_id])
        resolved[transfer.pending_id] = transfer.transfer_id


async def _check_reversals(conn: Connection, new: Sequence[Transfer]) -> None:
    reversing = {transfer.transfer_id: transfer.reverses_id for transfer in new if transfer.reverses_id is not None}
    if not reversing:
        return
    named = await _named(conn, reversing.values(), new)
    rows = await conn.fetch(
        "SELECT reverses_id FROM ledger.transfer WHERE reverses_id = ANY($1::uuid[])", list(reversing.values())
    )
    reversed_ids = {row["reverses_id"] for row in rows}
    for transfer in new:
        if transfer.reverses_id is None:
            continue
        original = named.get(transfer.reverses_id)
        if original is None or not domain.mirrors(transfer, original):
            raise ReversalInvalid(transfer.transfer_id, transfer.reverses_id, "it mirrors no such transfer")
        if transfer.reverses_id in reversed_ids:
            raise ReversalInvalid(transfer.transfer_id, transfer.reverses_id, "it is already reversed")
        reversed_ids.add(transfer.reverses_id)


async def _named(conn: Connection, ids: Iterable[UUID], new: Sequence[Transfer]) -> dict[UUID, Transfer]:
    named = {transfer.transfer_id: transfer for transfer in new}
    named.update(await transfers_by_id(conn, ids))
    return named


def _check_balances(locked: dict[LedgerAccount, tuple[int, Counters]], new: Sequence[Transfer]) -> None:
    for account, change in domain.changes(new).items():
        _, before = locked[account]
        if domain.overdrawn(account, before=before, change=change):
            raise InsufficientBalance(account, -change.available_atomic, before.available_atomic)


async def _append(conn: Connection, locked: dict[LedgerAccount, tuple[int, Counters]], new: Sequence[Transfer]) -> None:
    await conn.execute(
        """
        INSERT INTO ledger.transfer (transfer_id, coin, debit_account_id, credit_account_id, amount_atomic, phase, code,
            reference, pending_id, reverses_id, trace_parent)
        SELECT transfer_id, coin, debit_account_id, credit_account_id, amount_atomic, phase, code, reference,
            pending_id, reverses_id, trace_parent
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
            $8::text[], $9::uuid[], $10::uuid[], $11::text[]) WITH ORDINALITY
            AS new (transfer_id, coin, debit_account_id, credit_account_id, amount_atomic, phase, code, reference,
                pending_id, reverses_id, trace_parent, position)
        ORDER BY position
        """,
        [transfer.transfer_id for transfer in new],
        [transfer.debit.coin for transfer in new],
        [locked[transfer.debit][0] for transfer in new],
        [locked[transfer.credit][0] for transfer in new],
        [transfer.amount_atomic for transfer in new],
        [transfer.phase.value for transfer in new],
        [transfer.code.value for transfer in new],
        [transfer.reference for transfer in new],
        [transfer.pending_id for transfer in new],
        [transfer.reverses_id for transfer in new],
        [transfer.trace_parent or None for transfer in new],
    )


async def maturity_traces(conn: Connection, coin: str, owners: Sequence[str], *, limit: int) -> list[str]:
    """Return the traceparents of the newest maturities that made money of these owners payable, newest first.

    Only the newest `_TRACED_TRANSFERS_MAX` traced transfers are looked at.
    """
    rows = await conn.fetch(
        """
        SELECT trace_parent FROM (
            SELECT transfer_seq, trace_parent, credit_account_id FROM ledger.transfer
            WHERE trace_parent IS NOT NULL ORDER BY transfer_seq DESC LIMIT $4
        ) AS traced
        JOIN ledger.account ON account_id = credit_account_id
        WHERE coin = $1 AND owner = ANY($2::text[]) AND bucket = 'payable'
        GROUP BY trace_parent ORDER BY max(transfer_seq) DESC LIMIT $3
        """,
        coin,
        list(owners),
        limit,
        _TRACED_TRANSFERS_MAX,
    )
    return [row["trace_parent"] for row in rows]


def _counters(values: Sequence[int]) -> Counters:
    debits_posted, credits_posted, debits_pending, credits_pending = values
    return Counters(
        debits_posted=debits_posted,
        credits_posted=credits_posted,
        debits_pending=debits_pending,
        credits_pending=credits_pending,
    )


def _transfer(row: asyncpg.Record) -> Transfer:
    return Transfer(
        transfer_id=row["transfer_id"],
        debit=LedgerAccount(coin=row["coin"], owner=row["debit_owner"], bucket=Bucket(row["debit_bucket"])),
        credit=LedgerAccount(coin=row["coin"], owner=row["credit_owner"], bucket=Bucket(row["credit_bucket"])),
        amount_atomic=row["amount_atomic"],
        phase=Phase(row["phase"]),
        code=Code(row["code"]),
        reference=row["reference"],
        pending_id=row["pending_id"],
        reverses_id=row["reverses_id"],
    )
