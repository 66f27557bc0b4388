"""Fix windows: sum the slices a block is paid by, once, and close their heights."""

import asyncpg

from runtime.postgres.pool import Connection
from shares.errors import WindowConflict, WindowNotReady
from shares.keys import Keys, ensure_keys
from shares.storage import list_instances
from shares.window import AccountWork, Readiness, WaitRules, Window, WindowEdge, WindowKind, WindowRequest, readiness

_GROUPS_MAX = 2000


async def fix_window(connection: Connection, request: WindowRequest, *, rules: WaitRules, topic: str) -> Window:
    """Return the window of a block and close its heights; the same request again returns the first answer.

    The book's row is held from the first statement to the commit: what the consumer books for the scheme is either
    completely before it, and inside the window, or after it, and above the closed height.

    Args:
        connection: Inside a read committed transaction.
        request: The block.
        rules: How long dead instances are waited for.
        topic: The topic whose positions tell how far the stream is booked.

    Raises:
        WindowNotReady: When the stream has not passed the block.
        WindowConflict: When the request id was used for another window.
    """
    # A plan made without knowing the heights could read every slice there is.
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    book = await _hold_book(connection, coin=request.coin, scheme=request.kind.value)
    fixed = await _load_window(connection, request, book_id=book["book_id"])
    if fixed is not None:
        return fixed
    ready = await _readiness(connection, request, rules=rules, topic=topic)
    if ready.waiting_for:
        raise WindowNotReady(ready.waiting_for)
    match request.kind:
        case WindowKind.PPLNS:
            start = await _pplns_start(connection, request, book_id=book["book_id"])
        case WindowKind.PROP:
            start = await _prop_start(connection, request, book_id=book["book_id"])
    window = await _sum(connection, request, book=book, start=start, ready=ready)
    await _store(connection, request, book=book, window=window, topic=topic)
    return window


async def _hold_book(connection: Connection, *, coin: str, scheme: str) -> asyncpg.Record:
    await ensure_keys(connection, Keys(), coins={coin}, books={(coin, scheme)}, workers=())
    row = await connection.fetchrow(
        """
        SELECT book.book_id, book.coin_key, book.closed_height FROM shares.book JOIN shares.coin USING (coin_key)
        WHERE coin.coin = $1 AND book.scheme = $2 FOR UPDATE OF book
        """,
        coin,
        scheme,
    )
    if row is None:
        raise AssertionError("the book was made above")
    return row


async def _load_window(connection: Connection, request: WindowRequest, *, book_id: int) -> Window | None:
    row = await connection.fetchrow(
        """
        SELECT book_id, end_height, start_height, start_minute, total_work::text AS total_work, instances_missing
        FROM shares.fixed_window WHERE request_id = $1
        """,
        request.request_id,
    )
    if row is None:
        return None
    if (row["book_id"], row["end_height"]) != (book_id, request.end_height):
        raise WindowConflict(request.request_id)
    accounts = await connection.fetch(
        """
        SELECT account.account, entry.work::text AS work, entry.accepted_count
        FROM shares.window_account AS entry JOIN shares.account USING (account_id)
        WHERE entry.request_id = $1 ORDER BY entry.work DESC, account.account
        """,
        request.request_id,
    )
    return Window(
        accounts=_accounts(accounts),
        total_work=int(row["total_work"]),
        start_height=row["start_height"],
        start_minute=row["start_minute"],
        end_height=row["end_height"],
        instances_missing=tuple(row["instances_missing"]),
    )


async def _readiness(connection: Connection, request: WindowRequest, *, rules: WaitRules, topic: str) -> Readiness:
    query = "SELECT coalesce(min(booked_time_ms), 0) FROM shares.position WHERE topic = $1"
    booked_time_ms = int(await connection.fetchval(query, topic))
    return readiness(
        await list_instances(connection, request.coin),
        end_height=request.end_height,
        found_time_ms=request.found_time_ms,
        booked_time_ms=booked_time_ms,
        rules=rules,
    )


async def _pplns_start(connection: Connection, request: WindowRequest, *, book_id: int) -> tuple[int, int] | None:
    """Return height and minute of the oldest group inside, None when there is no work at all."""
    edge = WindowEdge(window_work=request.window_work)
    height, minute = request.end_height + 1, 0
    while not edge.is_full:
        groups = await connection.fetch(
            """
            SELECT height, minute, work::text AS work FROM shares.pool_slice
            WHERE book_id = $1 AND (height, minute) < ($2, $3)
            ORDER BY height DESC, minute DESC LIMIT $4
            """,
            book_id,
            height,
            minute,
            _GROUPS_MAX,
        )
        for group in groups:
            height, minute = group["height"], group["minute"]
            edge.take(height=height, minute=minute, work=int(group["work"]))
        if len(groups) < _GROUPS_MAX:
            break
    return edge.start


async def _prop_start(connection: Connection, request: WindowRequest, *, book_id: int) -> tuple[int, int] | None:
    row = await connection.fetchrow(
        """
        SELECT height, minute FROM shares.pool_slice
        WHERE book_id = $1 AND height BETWEEN $2 AND $3 AND work > 0 ORDER BY height, minute LIMIT 1
        """,
        book_id,
        request.start_height,
        request.end_height,
    )
    return None if row is None else (row["height"], row["minute"])


async def _sum(
    connection: Connection,
    request: WindowRequest,
    *,
    book: asyncpg.Record,
    start: tuple[int, int] | None,
    ready: Readiness,
) -> Window:
    if start is None:
        return Window(
            accounts=(),
            total_work=0,
            start_height=request.end_height,
            start_minute=0,
            end_height=request.end_height,
            instances_missing=ready.instances_missing,
        )
    rows = await connection.fetch(
        """
        SELECT account.account, summed.work::text AS work, summed.accepted_count FROM (
            SELECT account_id, sum(work) AS work, sum(accepted_count)::bigint AS accepted_count FROM shares.slice
            WHERE coin_key = $1 AND (height, minute) >= ($2, $3) AND height <= $4 AND book_id = $5
            GROUP BY account_id
        ) AS summed JOIN shares.account USING (account_id)
        WHERE summed.work > 0 ORDER BY summed.work DESC, account.account
        """,
        book["coin_key"],
        *start,
        request.end_height,
        book["book_id"],
    )
    accounts = _accounts(rows)
    return Window(
        accounts=accounts,
        total_work=sum(entry.work for entry in accounts),
        start_height=start[0],
        start_minute=start[1],
        end_height=request.end_height,
        instances_missing=ready.instances_missing,
    )


async def _store(
    connection: Connection, request: WindowRequest, *, book: asyncpg.Record, window: Window, topic: str
) -> None:
    await connection.execute(
        """
        INSERT INTO shares.fixed_window (
            request_id, book_id, end_height, start_height, start_minute, total_work, instances_missing
        ) VALUES ($1, $2, $3, $4, $5, $6::text::numeric, $7)
        """,
        request.request_id,
        book["book_id"],
        window.end_height,
        window.start_height,
        window.start_minute,
        str(window.total_work),
        list(window.instances_missing),
    )
    await connection.execute(
        """
        INSERT INTO shares.window_account (request_id, account_id, work, accepted_count)
        SELECT $1, account.account_id, entry.work::numeric, entry.share_count
        FROM unnest($3::text[], $4::text[], $5::bigint[]) AS entry(account, work, share_count)
        JOIN shares.account ON account.coin_key = $2 AND account.account = entry.account
        """,
        request.request_id,
        book["coin_key"],
        [entry.account for entry in window.accounts],
        [str(entry.work) for entry in window.accounts],
        [entry.share_count for entry in window.accounts],
    )
    if window.end_height <= book["closed_height"]:
        return
    update = "UPDATE shares.book SET closed_height = $2 WHERE book_id = $1"
    await connection.execute(update, book["book_id"], window.end_height)
    await connection.execute(
        """
        INSERT INTO shares.closing (book_id, closed_height, topic, partition, next_offset)
        SELECT $1, $2, topic, partition, next_offset FROM shares.position WHERE topic = $3
        """,
        book["book_id"],
        window.end_height,
        topic,
    )


def _accounts(rows: list[asyncpg.Record]) -> tuple[AccountWork, ...]:
    return tuple(
        AccountWork(account=row["account"], work=int(row["work"]), share_count=row["accepted_count"]) for row in rows
    )
