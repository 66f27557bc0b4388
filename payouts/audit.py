"""Prove that what the batches say, what the ledger says and what the transactions say is the same, to the unit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

from coins import registry
from ledger import storage as ledger_storage
from ledger.domain import Phase, Transfer
from nodes.errors import NodeError
from nodes.interface import BitcoinWallet
from payouts import sends, storage
from payouts.domain import (
    OPEN,
    Batch,
    BatchStatus,
    Item,
    fee_transfer_id,
    reservations,
    resolution_id,
    resolutions,
    settlement,
)
from payouts.reconcile import Scripts, paid_by
from payouts.transaction import compare
from runtime.audit import Finding, Report
from runtime.postgres.pool import Connection, Pool, acquired

_SUM = "batch = sum of its items"
_STEPS = "status = last step"
_RESERVED = "reserved balance = open items"
_PAID = "paid balance = confirmed items"
_TRANSFERS = "transfers = items"
_TRANSACTION = "transaction = items"
_FEES = "network fees = fees of confirmed batches"
_CHAIN = "chain = batch"
_SENDS = "wallet sends = batches"
_PAGE = 500


class _Books:
    """Collects what was compared."""

    def __init__(self) -> None:
        self.compared: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.notes: list[str] = []

    def compare(self, check: str, subject: str, *, expected: object, actual: object) -> None:
        self.compared[check] += 1
        if expected != actual:
            self.findings.append(Finding(check=check, subject=subject, expected=str(expected), actual=str(actual)))

    def report(self) -> Report:
        return Report(compared=dict(self.compared), findings=tuple(self.findings), notes=tuple(self.notes))


async def audit(pool: Pool, *, coin_id: str, wallet: BitcoinWallet | None = None) -> Report:
    """Compare every batch of a coin with its items, transfers and transaction, and all of them with the balances.

    Reads one snapshot of the database, so that it may run while the payer works.

    Args:
        pool: The database with the schemas `ledger` and `payouts`.
        coin_id: The coin.
        wallet: Asked about each transaction that should be in the chain, and what else it has sent; None leaves that
            out, with a note.
    """
    books = _Books()
    confirmed: list[Batch] = []
    # Before the snapshot: a transaction that is sent meanwhile was stored before.
    sent, unasked = await _sent(wallet)
    async with acquired(pool) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        totals: dict[str, Counter[str]] = {_RESERVED: Counter(), _PAID: Counter()}
        fee_sum = 0
        before: int | None = None
        while page := await storage.list_batches(conn, coin_id, status=None, before_number=before, limit=_PAGE):
            before = page[-1][0]
            for _, batch in page:
                items = await storage.items_of(conn, batch.batch_id)
                await _check_batch(conn, books, batch, items)
                _count_items(batch, items, totals)
                if batch.status is BatchStatus.CONFIRMED:
                    fee_sum += batch.fee_atomic
                    confirmed.append(batch)
        await _check_balances(conn, books, coin_id, totals, fee_sum)
        await _check_sends(conn, books, coin_id, sent, wallet)
    if wallet is None:
        books.notes.append("the chain was not asked: no wallet was given")
    else:
        await _check_chain(books, confirmed, wallet)
    books.notes += unasked
    return books.report()


def _count_items(batch: Batch, items: Sequence[Item], totals: Mapping[str, Counter[str]]) -> None:
    for item in items:
        if batch.status in OPEN:
            totals[_RESERVED][item.account] += item.amount_atomic
        elif batch.status is BatchStatus.CONFIRMED:
            totals[_PAID][item.account] += item.amount_atomic


async def _check_batch(conn: Connection, books: _Books, batch: Batch, items: Sequence[Item]) -> None:
    name = f"batch {batch.batch_id}"
    books.compare(
        _SUM, f"{name} amount", expected=sum(item.amount_atomic for item in items), actual=batch.amount_atomic
    )
    books.compare(_SUM, f"{name} payments", expected=len(items), actual=batch.payout_count)
    last_step = await conn.fetchval(
        "SELECT to_status FROM payouts.batch_step WHERE batch_id = $1 ORDER BY step_number DESC LIMIT 1", batch.batch_id
    )
    books.compare(_STEPS, name, expected=last_step or "no step", actual=batch.status.value)
    await _check_transfers(conn, books, batch, items)
    if batch.raw is not None:
        comparison = compare(registry.get(batch.coin), raw=batch.raw, txid_hex=batch.txid_hex, items=items)
        books.compared[_TRANSACTION] += len(items) + 1
        books.findings.extend(
            Finding(check=_TRANSACTION, subject=f"{name} {found.subject}", expected=found.expected, actual=found.actual)
            for found in comparison.differences
        )


async def _check_transfers(conn: Connection, books: _Books, batch: Batch, items: Sequence[Item]) -> None:
    """Compare a batch's ledger transfers with those its status implies, one by one, and find those too many."""
    expected = reservations(batch.batch_id, batch.coin, items)
    if batch.status is BatchStatus.CONFIRMED:
        expected += settlement(batch, items)
    elif batch.status is BatchStatus.VOIDED:
        expected += resolutions(batch.batch_id, batch.coin, items, phase=Phase.VOID)
    found = {
        transfer.transfer_id: transfer
        for transfer in await ledger_storage.transfers_by_reference(conn, batch.coin, str(batch.batch_id))
    }
    names = _transfer_names(batch, items)
    for transfer in expected:
        subject = f"batch {batch.batch_id} {names[transfer.transfer_id]}"
        actual = found.pop(transfer.transfer_id, None)
        if actual == transfer:
            books.compared[_TRANSFERS] += 1
        else:
            shown = "no transfer" if actual is None else _shown(actual)
            books.compare(_TRANSFERS, subject, expected=_shown(transfer), actual=shown)
    for transfer_id, transfer in found.items():
        name = names.get(transfer_id, f"transfer {transfer_id}")
        books.compare(_TRANSFERS, f"batch {batch.batch_id} {name}", expected="no transfer", actual=_shown(transfer))


def _transfer_names(batch: Batch, items: Sequence[Item]) -> dict[UUID, str]:
    names = {fee_transfer_id(batch.batch_id): "network fee"}
    for item in items:
        names[item.payout_id] = f"reservation of {item.account}"
        names[resolution_id(item.payout_id, Phase.POST)] = f"payment of {item.account}"
        names[resolution_id(item.payout_id, Phase.VOID)] = f"return to {item.account}"
    return names


def _shown(transfer: Transfer) -> str:
    return f"{transfer.phase} {transfer.amount_atomic} from {transfer.debit} to {transfer.credit}"


async def _check_balances(
    conn: Connection, books: _Books, coin_id: str, totals: Mapping[str, Counter[str]], fee_sum: int
) -> None:
    rows = await conn.fetch(
        """
        SELECT owner, bucket, debits_pending, credits_posted - debits_posted AS posted
        FROM ledger.account WHERE coin = $1 AND bucket IN ('payable', 'paid')
        """,
        coin_id,
    )
    reserved: Counter[str] = Counter()
    paid: Counter[str] = Counter()
    for row in rows:
        if row["bucket"] == "payable":
            reserved[row["owner"]] = row["debits_pending"]
        else:
            paid[row["owner"]] = row["posted"]
    books.compare(_FEES, "pool:network_fee", expected=fee_sum, actual=paid.pop("pool:network_fee", 0))
    for check, actual in ((_RESERVED, reserved), (_PAID, paid)):
        for account in sorted(totals[check].keys() | actual.keys()):
            books.compare(check, f"account {account}", expected=totals[check][account], actual=actual[account])


async def _check_chain(books: _Books, confirmed: Sequence[Batch], wallet: BitcoinWallet) -> None:
    for batch in confirmed:
        name = f"batch {batch.batch_id} transaction {batch.txid_hex}"
        try:
            seen = await wallet.transaction(batch.txid_hex)
        except NodeError as error:
            books.notes.append(f"the chain was not asked about {name} and those after it: {error}")
            return
        if seen is None or seen.confirmations < 1:
            actual = "unknown to the wallet" if seen is None else f"{seen.confirmations} confirmations"
            books.compare(_CHAIN, name, expected="in the chain", actual=actual)
            continue
        books.compare(_CHAIN, f"{name} fee", expected=seen.fee_atomic, actual=batch.fee_atomic)


async def _sent(wallet: BitcoinWallet | None) -> tuple[tuple[str, ...], list[str]]:
    """Return the ids of all that the wallet has sent, and a note when it could not be asked."""
    if wallet is None:
        return (), []
    try:
        return (await wallet.sends(since="")).txids_hex, []
    except NodeError as error:
        return (), [f"the wallet was not asked what it has sent: {error}"]


async def _check_sends(
    conn: Connection, books: _Books, coin_id: str, sent: Sequence[str], wallet: BitcoinWallet | None
) -> None:
    """Find what the wallet has paid to accounts without a batch, or for a batch that was given up (P2)."""
    rows = await conn.fetch("SELECT txid_hex, status FROM payouts.batch WHERE txid_hex = ANY($1::text[])", list(sent))
    statuses = {row["txid_hex"]: BatchStatus(row["status"]) for row in rows}
    owners = Scripts(registry.get(coin_id)).by_script(await sends.ledger_owners(conn, coin_id))
    for txid_hex in sent:
        status = statuses.get(txid_hex)
        if wallet is None or status not in {None, BatchStatus.VOIDED}:
            books.compared[_SENDS] += 1
            continue
        name = f"transaction {txid_hex}"
        try:
            seen = await wallet.transaction(txid_hex)
        except NodeError as error:
            books.notes.append(f"the wallet was not asked about {name} and those after it: {error}")
            return
        paid = {} if seen is None or seen.confirmations < 0 else paid_by(seen.raw, owners)
        shown = f"{sum(paid.values())} to {len(paid)} accounts" if paid else "nothing to accounts"
        noted = await sends.get_send(conn, coin_id, txid_hex)
        if paid and status is None and noted is not None and noted.decision is sends.Decision.IGNORED:
            books.notes.append(f"{name} pays {shown}; the operator has said that it was no payout")
            continue
        expected = "nothing to accounts" if status is None else "nothing to accounts, for its batch was voided"
        books.compare(_SENDS, name, expected=expected if paid else shown, actual=shown)
