"""Read accounts and workers, and change an account's settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from miners.errors import RequestConflict
from runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A payout address that has mined here; times in milliseconds since the Unix epoch."""

    coin: str
    account: str
    create_time_ms: int
    last_share_time_ms: int
    payout_threshold_atomic: int
    worker_count: int
    worker_online_count: int
    is_anonymous: bool
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker of an account; times in milliseconds since the Unix epoch."""

    account: str
    worker: str
    create_time_ms: int
    last_share_time_ms: int
    is_online: bool
    scheme: str
    user_agent: str


IS_ONLINE = "(worker.offline_since_ms IS NULL OR worker.last_share_time_ms > worker.offline_since_ms)"
"""SQL: presence as it was decided last (miners/presence.py), and a worker that has shares since is online already."""

_ACCOUNTS = f"""
SELECT found.coin, found.account, found.create_time_ms, found.last_share_time_ms, found.payout_threshold_atomic,
    found.is_anonymous, found.revision, counted.workers, counted.online
FROM ({{found}}) AS found
CROSS JOIN LATERAL (
    SELECT count(*) AS workers,
        count(*) FILTER (WHERE {IS_ONLINE}) AS online
    FROM miners.worker WHERE worker.account_id = found.account_id
) AS counted
ORDER BY {{order}}
"""


async def get_accounts(connection: Connection, *, coin: str, accounts: Sequence[str]) -> list[Account]:
    """Return those of the accounts that are known, in the order asked."""
    found = """
        SELECT account.*, wanted.number FROM unnest($2::text[]) WITH ORDINALITY AS wanted(name, number)
        JOIN miners.account ON account.coin = $1 AND account.account = wanted.name
        """
    rows = await connection.fetch(_ACCOUNTS.format(found=found, order="found.number"), coin, accounts)
    return [_account(row) for row in rows]


async def list_accounts(connection: Connection, *, coin: str, page_size: int, after: str) -> list[Account]:
    """Return up to `page_size` accounts behind the address `after`, by address."""
    found = "SELECT * FROM miners.account WHERE coin = $1 AND account > $2 ORDER BY account LIMIT $3"
    query = _ACCOUNTS.format(found=found, order="found.account")
    return [_account(row) for row in await connection.fetch(query, coin, after, page_size)]


async def list_workers(
    connection: Connection, *, coin: str, account: str, page_size: int, after: tuple[str, str] | None
) -> list[Worker]:
    """Return up to `page_size` workers by name, then by account.

    Args:
        connection: Any.
        coin: Coin id.
        account: Only this account's; empty for all.
        page_size: At most this many.
        after: Worker and account of the last row of the page before; None for the first page.
    """
    place = "" if after is None else "AND (worker.worker, account.account) > ($4, $5)"
    rows = await connection.fetch(
        f"""
        SELECT account.account, worker.worker, worker.create_time_ms, worker.last_share_time_ms,
            {IS_ONLINE} AS is_online, worker.scheme, worker.user_agent
        FROM miners.account JOIN miners.worker USING (account_id)
        WHERE account.coin = $1 AND ($2 = '' OR account.account = $2) {place}
        ORDER BY worker.worker, account.account LIMIT $3
        """,
        coin,
        account,
        page_size,
        *(after or ()),
    )
    return [
        Worker(
            account=row["account"],
            worker=row["worker"],
            create_time_ms=row["create_time_ms"],
            last_share_time_ms=row["last_share_time_ms"],
            is_online=row["is_online"],
            scheme=row["scheme"],
            user_agent=row["user_agent"],
        )
        for row in rows
    ]


async def set_threshold(
    connection: Connection, *, coin: str, account: str, payout_threshold_atomic: int, request_id: str
) -> bool:
    """Set an account's payout threshold once; return whether the account is known.

    A request that comes again changes nothing, also when another has changed the threshold meanwhile.

    Raises:
        RequestConflict: When the request id was used for another change.
    """
    query = "SELECT account_id FROM miners.account WHERE coin = $1 AND account = $2 FOR UPDATE"
    account_id = await connection.fetchval(query, coin, account)
    if account_id is None:
        return False
    wanted = (account_id, payout_threshold_atomic)
    inserted = await connection.fetchval(
        """
        INSERT INTO miners.account_update (request_id, account_id, payout_threshold_atomic) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING RETURNING request_id
        """,
        request_id,
        *wanted,
    )
    if inserted is None:
        query = "SELECT account_id, payout_threshold_atomic FROM miners.account_update WHERE request_id = $1"
        row = await connection.fetchrow(query, request_id)
        if row is None or tuple(row) != wanted:
            raise RequestConflict(request_id)
        return True
    update = "UPDATE miners.account SET payout_threshold_atomic = $2, revision = revision + 1 WHERE account_id = $1"
    await connection.execute(update, *wanted)
    return True


def _account(row: asyncpg.Record) -> Account:
    return Account(
        coin=row["coin"],
        account=row["account"],
        create_time_ms=row["create_time_ms"],
        last_share_time_ms=row["last_share_time_ms"],
        payout_threshold_atomic=row["payout_threshold_atomic"],
        worker_count=row["workers"],
        worker_online_count=row["online"],
        is_anonymous=row["is_anonymous"],
        revision=row["revision"],
    )
