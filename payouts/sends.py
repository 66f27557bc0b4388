"""Keep what the wallet has sent and no batch knows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import asyncpg

from runtime.postgres.pool import Connection


class Decision(StrEnum):
    """What the operator has said of a send."""

    OPEN = "open"
    ADOPTED = "adopted"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownSend:
    """A transaction of the wallet that no batch knows.

    Attributes:
        txid_hex: Its id.
        raw: Its bytes.
        fee_atomic: What it cost.
        account_count: How many accounts of the ledger it pays; 0 when none, and then it stops nothing.
        amount_atomic: What they get of it.
        decision: The operator's word.
        create_time_ms: When it was first seen.
    """

    txid_hex: str
    raw: bytes
    fee_atomic: int
    account_count: int = 0
    amount_atomic: int = 0
    decision: Decision = Decision.OPEN
    create_time_ms: int


_COLUMNS = "txid_hex, raw, fee_atomic, account_count, amount_atomic, decision, create_time_ms"


async def read_cursor(conn: Connection, coin_id: str) -> str:
    """Return up to where the wallet's sends were compared; empty before the first time."""
    cursor: str | None = await conn.fetchval("SELECT sends_cursor FROM payouts.payer WHERE coin = $1", coin_id)
    return cursor or ""


async def store_cursor(conn: Connection, coin_id: str, cursor: str) -> None:
    """Store up to where the wallet's sends were compared."""
    await conn.execute("UPDATE payouts.payer SET sends_cursor = $2 WHERE coin = $1", coin_id, cursor)


async def unknown_of(conn: Connection, coin_id: str, txids_hex: Sequence[str]) -> list[str]:
    """Return those that no batch has and that were not noted before."""
    rows = await conn.fetch(
        """
        SELECT txid_hex FROM unnest($2::text[]) WITH ORDINALITY AS given (txid_hex, position)
        WHERE NOT EXISTS (SELECT FROM payouts.batch WHERE batch.txid_hex = given.txid_hex)
          AND NOT EXISTS (SELECT FROM payouts.wallet_send AS known WHERE known.coin = $1
                          AND known.txid_hex = given.txid_hex)
        ORDER BY position
        """,
        coin_id,
        list(txids_hex),
    )
    return [row["txid_hex"] for row in rows]


async def note_sends(conn: Connection, coin_id: str, found: Iterable[UnknownSend]) -> None:
    """Store sends that are new; those that a batch has come to know meanwhile are left out."""
    for send in found:
        await conn.execute(
            """
            INSERT INTO payouts.wallet_send (coin, txid_hex, raw, fee_atomic, create_time_ms)
            SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT FROM payouts.batch WHERE txid_hex = $2)
            ON CONFLICT DO NOTHING
            """,
            coin_id,
            send.txid_hex,
            send.raw,
            send.fee_atomic,
            send.create_time_ms,
        )


async def note_accounts(conn: Connection, coin_id: str, send: UnknownSend) -> None:
    """Store how many accounts a send pays, when that has changed."""
    await conn.execute(
        """
        UPDATE payouts.wallet_send SET account_count = $3, amount_atomic = $4
        WHERE coin = $1 AND txid_hex = $2 AND (account_count, amount_atomic) <> ($3, $4)
        """,
        coin_id,
        send.txid_hex,
        send.account_count,
        send.amount_atomic,
    )


async def open_sends(conn: Connection, coin_id: str) -> list[UnknownSend]:
    """Return the sends about which nothing was said yet, those without an account too; oldest first."""
    rows = await conn.fetch(
        f"""
        SELECT {_COLUMNS} FROM payouts.wallet_send WHERE coin = $1 AND decision = 'open'
        ORDER BY create_time_ms, txid_hex
        """,
        coin_id,
    )
    return [_send(row) for row in rows]


async def get_send(conn: Connection, coin_id: str, txid_hex: str, *, for_update: bool = False) -> UnknownSend | None:
    """Return a send; None when it was never noted. With `for_update` nobody decides in between."""
    row = await conn.fetchrow(
        f"SELECT {_COLUMNS} FROM payouts.wallet_send WHERE coin = $1 AND txid_hex = $2"
        + (" FOR UPDATE" if for_update else ""),
        coin_id,
        txid_hex,
    )
    return None if row is None else _send(row)


async def decide(
    conn: Connection, coin_id: str, txid_hex: str, decision: Decision, *, reason: str, now_ms: int
) -> None:
    """Store the operator's word."""
    await conn.execute(
        """
        UPDATE payouts.wallet_send SET decision = $3, reason = $4, decide_time_ms = $5
        WHERE coin = $1 AND txid_hex = $2
        """,
        coin_id,
        txid_hex,
        decision.value,
        reason,
        now_ms,
    )


async def ledger_owners(conn: Connection, coin_id: str) -> list[str]:
    """Return all owners of the coin's ledger, the pool's own among them."""
    rows = await conn.fetch("SELECT DISTINCT owner FROM ledger.account WHERE coin = $1", coin_id)
    return [row["owner"] for row in rows]


def _send(row: asyncpg.Record) -> UnknownSend:
    return UnknownSend(
        txid_hex=row["txid_hex"],
        raw=row["raw"],
        fee_atomic=row["fee_atomic"],
        account_count=row["account_count"],
        amount_atomic=row["amount_atomic"],
        decision=Decision(row["decision"]),
        create_time_ms=row["create_time_ms"],
    )
