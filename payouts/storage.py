"""Keep batches in PostgreSQL. Every change of status is a compare-and-swap."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from nodes.interface import SignedTransaction
from payouts import notices
from payouts.domain import Batch, BatchEvent, BatchStatus, FeePolicy, Item, after
from payouts.errors import BatchMoved
from runtime.postgres.migrations import migrate
from runtime.postgres.pool import Connection, Pool
from runtime.rpc.errors import InvalidArgument

SCHEMA = "payouts"

_BATCH_COLUMNS = """
    batch_id, batch_number, coin, status, amount_atomic, payout_count, fee_rate_min_sat_per_kvb,
    fee_rate_max_sat_per_kvb, fee_atomic_max, raw, txid_hex, fee_atomic, weight, confirmations, reason, create_time_ms,
    update_time_ms, send_time_ms, confirm_time_ms, trace_parent
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerRow:
    """What is kept of a coin's payer; `outputs_limit` 0 means that of the settings."""

    is_held: bool = False
    hold_reason: str = ""
    wait_reason: str = ""
    outputs_limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """An item with what its batch says of it."""

    number: int
    item: Item
    batch_id: UUID
    status: BatchStatus
    txid_hex: str
    create_time_ms: int
    confirm_time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts of one coin's batches."""

    batches_confirmed: int
    payouts_confirmed: int
    paid_atomic: int
    batches_in_review: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolated:
    """An account that cannot be paid."""

    account: str
    reason: str


# --- the payer's own row ---


async def ensure_payer(conn: Connection, coin_id: str) -> None:
    """Make the coin's row when it is missing."""
    await conn.execute("INSERT INTO payouts.payer (coin) VALUES ($1) ON CONFLICT DO NOTHING", coin_id)


async def payer_row(conn: Connection, coin_id: str, *, for_share: bool = False) -> PayerRow:
    """Return the coin's row; with `for_share` no hold can come in between until the transaction ends."""
    row = await conn.fetchrow(
        "SELECT is_held, hold_reason, wait_reason, outputs_limit FROM payouts.payer WHERE coin = $1"
        + (" FOR SHARE" if for_share else ""),
        coin_id,
    )
    return PayerRow() if row is None else PayerRow(**dict(row))


async def set_wait_reason(conn: Connection, coin_id: str, reason: str) -> bool:
    """Store why the payer waits, empty when it does not; return whether that is news."""
    status: str = await conn.execute(
        "UPDATE payouts.payer SET wait_reason = $2 WHERE coin = $1 AND wait_reason <> $2", coin_id, reason
    )
    return status != "UPDATE 0"


async def set_alarm(conn: Connection, coin_id: str, cause: str, *, patience_ms: int, now_ms: int) -> int | None:
    """Store why nobody is paid until somebody does something, empty when that is not so.

    Args:
        conn: Any.
        coin_id: Whose payer.
        cause: What it waits for; another one begins anew.
        patience_ms: So long a cause must last before it is told.
        now_ms: The time.

    Returns:
        Since when, where it is to be told now; each cause is told once.
    """
    await conn.execute(
        """
        UPDATE payouts.payer SET alarm_cause = $2, alarm_since_ms = $3, is_alarm_told = false
        WHERE coin = $1 AND alarm_cause <> $2
        """,
        coin_id,
        cause,
        now_ms,
    )
    since_ms: int | None = await conn.fetchval(
        """
        UPDATE payouts.payer SET is_alarm_told = true
        WHERE coin = $1 AND alarm_cause <> '' AND NOT is_alarm_told AND alarm_since_ms <= $2
        RETURNING alarm_since_ms
        """,
        coin_id,
        now_ms - patience_ms,
    )
    return since_ms


async def set_outputs_limit(conn: Connection, coin_id: str, limit: int) -> None:
    """Store how many outputs the next batch may have; 0 means as many as the settings say."""
    await conn.execute("UPDATE payouts.payer SET outputs_limit = $2 WHERE coin = $1", coin_id, limit)


async def set_held(conn: Connection, coin_id: str, *, is_held: bool, reason: str) -> None:
    """Hold or resume the making of batches."""
    await ensure_payer(conn, coin_id)
    await conn.execute(
        "UPDATE payouts.payer SET is_held = $2, hold_reason = $3 WHERE coin = $1", coin_id, is_held, reason
    )


async def is_new_request(conn: Connection, *, request_id: str, method: str, subject: str, now_ms: int) -> bool:
    """Remember a request; return False when it was carried out before.

    Raises:
        InvalidArgument: When the id was used for another request.
    """
    done = await conn.fetchval(
        """
        INSERT INTO payouts.request (request_id, method, subject, create_time_ms) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        request_id,
        method,
        subject,
        now_ms,
    )
    if done:
        return True
    row = await conn.fetchrow("SELECT method, subject FROM payouts.request WHERE request_id = $1", request_id)
    if row is None or (row["method"], row["subject"]) != (method, subject):
        raise InvalidArgument("request_id", "was used for another request")
    return False


# --- batches ---


async def insert_batch(
    conn: Connection,
    *,
    batch_id: UUID,
    coin_id: str,
    items: Sequence[Item],
    policy: FeePolicy,
    now_ms: int,
    trace_parent: str = "",
) -> None:
    """Store a batch that is reserved, with its items."""
    await conn.execute(
        """
        INSERT INTO payouts.batch (batch_id, coin, status, amount_atomic, payout_count, fee_rate_min_sat_per_kvb,
                                   fee_rate_max_sat_per_kvb, fee_atomic_max, create_time_ms, update_time_ms,
                                   trace_parent)
        VALUES ($1, $2, 'reserved', $3, $4, $5, $6, $7, $8, $8, $9)
        """,
        batch_id,
        coin_id,
        sum(item.amount_atomic for item in items),
        len(items),
        policy.rate_min_sat_per_kvb,
        policy.rate_max_sat_per_kvb,
        policy.fee_atomic_max,
        now_ms,
        trace_parent or None,
    )
    await conn.execute(
        """
        INSERT INTO payouts.item (payout_id, batch_id, coin, account, amount_atomic)
        SELECT payout_id, $1, $2, account, amount_atomic
        FROM unnest($3::uuid[], $4::text[], $5::bigint[]) WITH ORDINALITY
             AS given (payout_id, account, amount_atomic, position)
        ORDER BY position
        """,
        batch_id,
        coin_id,
        [item.payout_id for item in items],
        [item.account for item in items],
        [item.amount_atomic for item in items],
    )


async def store_signed(conn: Connection, batch: Batch, signed: SignedTransaction, *, now_ms: int) -> None:
    """Store the signed transaction (P2).

    Raises:
        BatchMoved: When the batch is no longer in the status it was read with.
    """
    status: str = await conn.execute(
        """
        UPDATE payouts.batch
        SET status = $3, raw = $4, txid_hex = $5, fee_atomic = $6, weight = $7, reason = '', update_time_ms = $8
        WHERE batch_id = $1 AND status = $2
        """,
        batch.batch_id,
        batch.status.value,
        after(batch.status, BatchEvent.SIGN).value,
        signed.raw,
        signed.txid_hex,
        signed.fee_atomic,
        signed.weight,
        now_ms,
    )
    if status != "UPDATE 1":
        raise BatchMoved(batch.batch_id, expected=batch.status.value)


async def move(
    conn: Connection,
    batch: Batch,
    event: BatchEvent,
    *,
    now_ms: int,
    reason: str = "",
    confirmations: int | None = None,
) -> BatchStatus:
    """Change a batch's status by compare-and-swap, tell of it, and return the new one.

    Args:
        conn: Inside the transaction that holds the ledger transfers belonging to the change.
        batch: As it was read.
        event: What happened.
        now_ms: When.
        reason: Why, for review and void.
        confirmations: As seen; None leaves what is stored.

    Raises:
        IllegalTransition: When the table of states has no such entry.
        BatchMoved: When the batch is no longer in the status it was read with.
    """
    target = after(batch.status, event)
    status: str = await conn.execute(
        """
        UPDATE payouts.batch
        SET status = $3::text, reason = $4, update_time_ms = $5::bigint, confirmations = coalesce($6, confirmations),
            confirm_time_ms = CASE WHEN $3::text = 'confirmed' THEN $5::bigint END
        WHERE batch_id = $1 AND status = $2
        """,
        batch.batch_id,
        batch.status.value,
        target.value,
        reason,
        now_ms,
        confirmations,
    )
    if status != "UPDATE 1":
        raise BatchMoved(batch.batch_id, expected=batch.status.value)
    if notices.tells(batch.status, target):
        items = await items_of(conn, batch.batch_id)
        await notices.tell_moved(conn, batch, items, target, reason=reason, now_ms=now_ms)
    return target


async def note_sent(conn: Connection, batch_id: UUID, *, now_ms: int) -> None:
    """Store when the bytes were last handed to a node."""
    await conn.execute(
        """
        UPDATE payouts.batch SET send_time_ms = $2
        WHERE batch_id = $1 AND status NOT IN ('confirmed', 'voided')
        """,
        batch_id,
        now_ms,
    )


async def note_confirmations(conn: Connection, batch_id: UUID, confirmations: int) -> None:
    """Store how deep the transaction is, when that has changed."""
    await conn.execute(
        """
        UPDATE payouts.batch SET confirmations = $2
        WHERE batch_id = $1 AND confirmations <> $2 AND status NOT IN ('confirmed', 'voided')
        """,
        batch_id,
        confirmations,
    )


async def get_batch(conn: Connection, batch_id: UUID) -> Batch | None:
    """Return a batch; None when there is none."""
    row = await conn.fetchrow(f"SELECT {_BATCH_COLUMNS} FROM payouts.batch WHERE batch_id = $1", batch_id)
    return None if row is None else _batch(row)


async def unsent_batch(conn: Connection, coin_id: str) -> Batch | None:
    """Return the one batch of a coin that is reserved or signed; None when there is none."""
    row = await conn.fetchrow(
        f"SELECT {_BATCH_COLUMNS} FROM payouts.batch WHERE coin = $1 AND status IN ('reserved', 'signed')", coin_id
    )
    return None if row is None else _batch(row)


async def watched_batches(conn: Connection, coin_id: str) -> list[Batch]:
    """Return the batches whose transactions may be on their way: sent, or in review with bytes; oldest first."""
    rows = await conn.fetch(
        f"""
        SELECT {_BATCH_COLUMNS} FROM payouts.batch
        WHERE coin = $1 AND status IN ('broadcast', 'review') AND raw IS NOT NULL
        ORDER BY batch_number
        """,
        coin_id,
    )
    return [_batch(row) for row in rows]


async def review_batch(conn: Connection, coin_id: str) -> Batch | None:
    """Return the oldest batch in review; None when there is none."""
    row = await conn.fetchrow(
        f"""
        SELECT {_BATCH_COLUMNS} FROM payouts.batch
        WHERE coin = $1 AND status = 'review' ORDER BY batch_number LIMIT 1
        """,
        coin_id,
    )
    return None if row is None else _batch(row)


async def items_of(conn: Connection, batch_id: UUID) -> list[Item]:
    """Return a batch's items in the order in which they were chosen."""
    rows = await conn.fetch(
        "SELECT payout_id, account, amount_atomic FROM payouts.item WHERE batch_id = $1 ORDER BY item_number", batch_id
    )
    return [
        Item(payout_id=row["payout_id"], account=row["account"], amount_atomic=row["amount_atomic"]) for row in rows
    ]


async def list_batches(
    conn: Connection, coin_id: str, *, status: BatchStatus | None, before_number: int | None, limit: int
) -> list[tuple[int, Batch]]:
    """Return a page of batches with their numbers, newest first."""
    rows = await conn.fetch(
        f"""
        SELECT {_BATCH_COLUMNS} FROM payouts.batch
        WHERE coin = $1 AND ($2::text IS NULL OR status = $2) AND ($3::bigint IS NULL OR batch_number < $3)
        ORDER BY batch_number DESC LIMIT $4
        """,
        coin_id,
        None if status is None else status.value,
        before_number,
        limit,
    )
    return [(row["batch_number"], _batch(row)) for row in rows]


_PAYMENT_QUERY = """
    SELECT item.item_number, item.payout_id, item.batch_id, item.account, item.amount_atomic, batch.status,
           batch.txid_hex, batch.create_time_ms, batch.confirm_time_ms
    FROM payouts.item JOIN payouts.batch USING (batch_id)
"""


async def list_payments(
    conn: Connection, coin_id: str, *, account: str, before_number: int | None, limit: int
) -> list[Payment]:
    """Return a page of payments, newest first; an empty account means all."""
    rows = await conn.fetch(
        f"""
        {_PAYMENT_QUERY}
        WHERE item.coin = $1 AND ($2 = '' OR item.account = $2) AND ($3::bigint IS NULL OR item.item_number < $3)
        ORDER BY item.item_number DESC LIMIT $4
        """,
        coin_id,
        account,
        before_number,
        limit,
    )
    return [_payment(row) for row in rows]


async def payments_of(conn: Connection, batch_id: UUID) -> list[Payment]:
    """Return a batch's payments in the order in which they were chosen."""
    rows = await conn.fetch(f"{_PAYMENT_QUERY} WHERE item.batch_id = $1 ORDER BY item.item_number", batch_id)
    return [_payment(row) for row in rows]


async def totals(conn: Connection, coin_id: str) -> Totals:
    """Return the counts of one coin's batches."""
    row = await conn.fetchrow(
        """
        SELECT count(*) FILTER (WHERE status = 'confirmed') AS batches_confirmed,
               coalesce(sum(payout_count) FILTER (WHERE status = 'confirmed'), 0)::bigint AS payouts_confirmed,
               coalesce(sum(amount_atomic) FILTER (WHERE status = 'confirmed'), 0)::bigint AS paid_atomic,
               count(*) FILTER (WHERE status = 'review') AS batches_in_review
        FROM payouts.batch WHERE coin = $1
        """,
        coin_id,
    )
    return Totals(**dict(row or {}))


# --- accounts that cannot be paid ---


async def set_isolated(conn: Connection, coin_id: str, found: Iterable[Isolated], *, now_ms: int) -> list[Isolated]:
    """Store accounts that cannot be paid; return those that are new or have a new reason."""
    entries = list(found)
    rows = await conn.fetch(
        """
        INSERT INTO payouts.isolated AS known (coin, account, reason, create_time_ms)
        SELECT $1, account, reason, $4 FROM unnest($2::text[], $3::text[]) AS given (account, reason)
        ON CONFLICT (coin, account) DO UPDATE SET reason = excluded.reason WHERE known.reason <> excluded.reason
        RETURNING account, reason
        """,
        coin_id,
        [entry.account for entry in entries],
        [entry.reason for entry in entries],
        now_ms,
    )
    return [Isolated(**dict(row)) for row in rows]


async def clear_isolated(conn: Connection, coin_id: str, accounts: Sequence[str]) -> None:
    """Forget that accounts could not be paid: they can now."""
    await conn.execute(
        "DELETE FROM payouts.isolated WHERE coin = $1 AND account = ANY($2::text[])", coin_id, list(accounts)
    )


async def list_isolated(conn: Connection, coin_id: str) -> list[Isolated]:
    """Return the accounts that cannot be paid."""
    rows = await conn.fetch("SELECT account, reason FROM payouts.isolated WHERE coin = $1 ORDER BY account", coin_id)
    return [Isolated(**dict(row)) for row in rows]


async def migrate_payouts(pool: Pool) -> int:
    """Bring the schema `payouts` up to date; return how many migrations were applied."""
    return await migrate(pool, schema=SCHEMA, package="payouts")


def _batch(row: asyncpg.Record) -> Batch:
    return Batch(
        batch_id=row["batch_id"],
        coin=row["coin"],
        status=BatchStatus(row["status"]),
        amount_atomic=row["amount_atomic"],
        payout_count=row["payout_count"],
        fee_policy=FeePolicy(
            rate_min_sat_per_kvb=row["fee_rate_min_sat_per_kvb"],
            rate_max_sat_per_kvb=row["fee_rate_max_sat_per_kvb"],
            fee_atomic_max=row["fee_atomic_max"],
        ),
        raw=row["raw"],
        txid_hex=row["txid_hex"] or "",
        fee_atomic=row["fee_atomic"] or 0,
        weight=row["weight"] or 0,
        confirmations=row["confirmations"],
        reason=row["reason"],
        create_time_ms=row["create_time_ms"],
        update_time_ms=row["update_time_ms"],
        send_time_ms=row["send_time_ms"] or 0,
        confirm_time_ms=row["confirm_time_ms"] or 0,
        trace_parent=row["trace_parent"] or "",
    )


def _payment(row: asyncpg.Record) -> Payment:
    return Payment(
        number=row["item_number"],
        item=Item(payout_id=row["payout_id"], account=row["account"], amount_atomic=row["amount_atomic"]),
        batch_id=row["batch_id"],
        status=BatchStatus(row["status"]),
        txid_hex=row["txid_hex"] or "",
        create_time_ms=row["create_time_ms"],
        confirm_time_ms=row["confirm_time_ms"] or 0,
    )
