"""Integer keys for coins, books, accounts and workers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.postgres.pool import Connection

KEYS_MAX = 500_000


@dataclass(slots=True, kw_only=True)
class Keys:
    """Integer keys of the strings in the stream, remembered once they are committed.

    Attributes:
        coins: Coin → coin_key.
        books: (coin, scheme) → book_id.
        accounts: (coin, account) → account_id.
        workers: (coin, account, worker) → worker_id.
    """

    coins: dict[str, int] = field(default_factory=dict)
    books: dict[tuple[str, str], int] = field(default_factory=dict)
    accounts: dict[tuple[str, str], int] = field(default_factory=dict)
    workers: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def limit(self) -> None:
        """Forget accounts and workers when there are more than `KEYS_MAX`; they are read again when needed."""
        if len(self.workers) > KEYS_MAX:
            self.workers.clear()
            self.accounts.clear()


async def ensure_keys(
    connection: Connection,
    keys: Keys,
    *,
    coins: Collection[str],
    books: Collection[tuple[str, str]],
    workers: Collection[tuple[str, str, str]],
) -> Keys:
    """Return `keys` with those that are missing, made where they are new.

    A key says nothing about shares, so it may be committed before them, and stay when they are rolled back.

    Args:
        connection: Inside a transaction of its own.
        keys: What is known; not changed.
        coins: Coin ids.
        books: (coin, scheme).
        workers: (coin, account, worker).
    """
    coin_keys = keys.coins | await _ensure_coins(connection, sorted(set(coins) - keys.coins.keys()))
    book_ids = keys.books | await _ensure_books(connection, coin_keys, sorted(set(books) - keys.books.keys()))
    new_workers = sorted(set(workers) - keys.workers.keys())
    new_accounts = sorted({(coin, account) for coin, account, _ in new_workers} - keys.accounts.keys())
    account_ids = await _ensure_accounts(connection, coin_keys, new_accounts) if new_accounts else {}
    account_ids = keys.accounts | account_ids if account_ids else keys.accounts
    worker_ids = await _ensure_workers(connection, account_ids, new_workers) if new_workers else {}
    worker_ids = keys.workers | worker_ids if worker_ids else keys.workers
    return Keys(coins=coin_keys, books=book_ids, accounts=account_ids, workers=worker_ids)


async def _ensure_coins(connection: Connection, coins: Sequence[str]) -> dict[str, int]:
    if not coins:
        return {}
    query = "SELECT coin, coin_key FROM shares.coin WHERE coin = ANY($1::text[])"
    found = {row["coin"]: int(row["coin_key"]) for row in await connection.fetch(query, coins)}
    if len(found) < len(coins):
        insert = "INSERT INTO shares.coin (coin) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING"
        await connection.execute(insert, [coin for coin in coins if coin not in found])
        found = {row["coin"]: int(row["coin_key"]) for row in await connection.fetch(query, coins)}
    return found


async def _ensure_books(
    connection: Connection, coin_keys: Mapping[str, int], books: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    if not books:
        return {}
    query = """
        SELECT wanted.coin_key, wanted.scheme, book.book_id
        FROM unnest($1::smallint[], $2::text[]) AS wanted(coin_key, scheme)
        JOIN shares.book USING (coin_key, scheme)
        """
    columns = [coin_keys[coin] for coin, _ in books], [scheme for _, scheme in books]
    rows = await connection.fetch(query, *columns)
    if len(rows) < len(books):
        known = {(row["coin_key"], row["scheme"]) for row in rows}
        new = [pair for pair in zip(*columns, strict=True) if pair not in known]
        await connection.execute(
            """
            INSERT INTO shares.book (coin_key, scheme) SELECT * FROM unnest($1::smallint[], $2::text[])
            ON CONFLICT DO NOTHING
            """,
            [coin_key for coin_key, _ in new],
            [scheme for _, scheme in new],
        )
        rows = await connection.fetch(query, *columns)
    book_ids = {(row["coin_key"], row["scheme"]): int(row["book_id"]) for row in rows}
    return {(coin, scheme): book_ids[coin_keys[coin], scheme] for coin, scheme in books}


async def _ensure_accounts(
    connection: Connection, coin_keys: Mapping[str, int], accounts: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    columns = [coin_keys[coin] for coin, _ in accounts], [account for _, account in accounts]
    await connection.execute(
        """
        INSERT INTO shares.account (coin_key, account)
        SELECT coin_key, account FROM unnest($1::smallint[], $2::text[]) AS wanted(coin_key, account)
        WHERE NOT EXISTS (
            SELECT FROM shares.account old WHERE (old.coin_key, old.account) = (wanted.coin_key, wanted.account)
        )
        ON CONFLICT DO NOTHING
        """,
        *columns,
    )
    rows = await connection.fetch(
        """
        SELECT account.account_id, wanted.number
        FROM unnest($1::smallint[], $2::text[]) WITH ORDINALITY AS wanted(coin_key, account, number)
        JOIN shares.account USING (coin_key, account)
        """,
        *columns,
    )
    return {accounts[row["number"] - 1]: int(row["account_id"]) for row in rows}


async def _ensure_workers(
    connection: Connection, account_ids: Mapping[tuple[str, str], int], workers: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], int]:
    columns = [account_ids[coin, account] for coin, account, _ in workers], [worker for _, _, worker in workers]
    await connection.execute(
        """
        INSERT INTO shares.worker (account_id, worker)
        SELECT account_id, worker FROM unnest($1::integer[], $2::text[]) AS wanted(account_id, worker)
        WHERE NOT EXISTS (
            SELECT FROM shares.worker old WHERE (old.account_id, old.worker) = (wanted.account_id, wanted.worker)
        )
        ON CONFLICT DO NOTHING
        """,
        *columns,
    )
    rows = await connection.fetch(
        """
        SELECT worker.worker_id, wanted.number
        FROM unnest($1::integer[], $2::text[]) WITH ORDINALITY AS wanted(account_id, worker, number)
        JOIN shares.worker USING (account_id, worker)
        """,
        *columns,
    )
    return {workers[row["number"] - 1]: int(row["worker_id"]) for row in rows}
