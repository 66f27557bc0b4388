"""Show deliveries to the operator, and send them again. SQL."""

from dataclasses import dataclass

import asyncpg

from notifier import queueing
from notifier.claims import State
from notifier.domain import Priority, Subscription
from notifier.notices import Kind, Notice
from notifier.records import decode, encode_test
from notifier.subscriptions import COLUMNS, from_row
from runtime.postgres.pool import Connection

_SELECT = f"""
    SELECT d.delivery_id, d.state, d.attempt_count, d.last_error, d.create_time_ms AS queue_time_ms, d.due_ms,
        d.deliver_time_ms, n.payload, s.*
    FROM notifier.delivery d
    JOIN notifier.notice n USING (notice_no)
    JOIN (SELECT {COLUMNS} FROM notifier.subscription) s USING (subscription_id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A notice to one subscription.

    Attributes:
        delivery_id: Identifies it.
        subscription: To whom.
        notice: What it tells.
        state: Where it is.
        attempt_count: Tries so far.
        last_error: Why the last one failed; "" when none did.
        create_time_ms: When it was queued.
        next_attempt_time_ms: When it is tried next; 0 when it is not.
        deliver_time_ms: When it was taken; 0 when it was not.
    """

    delivery_id: int
    subscription: Subscription
    notice: Notice
    state: State
    attempt_count: int
    last_error: str
    create_time_ms: int
    next_attempt_time_ms: int
    deliver_time_ms: int


async def list_page(
    connection: Connection,
    *,
    subscription_id: int = 0,
    states: tuple[State, ...] = (),
    before: int | None = None,
    page_size: int,
) -> list[Delivery]:
    """Return deliveries, newest first; filters that are empty do not filter."""
    rows = await connection.fetch(
        f"""
        {_SELECT}
        WHERE ($1 = 0 OR d.subscription_id = $1) AND (cardinality($2::text[]) = 0 OR d.state = ANY ($2))
            AND ($3::bigint IS NULL OR d.delivery_id < $3)
        ORDER BY d.delivery_id DESC LIMIT $4
        """,
        subscription_id,
        [state.value for state in states],
        before,
        page_size,
    )
    return [_delivery(row) for row in rows]


async def get(connection: Connection, delivery_id: int) -> Delivery | None:
    """Return a delivery; None when there is none."""
    row = await connection.fetchrow(f"{_SELECT} WHERE d.delivery_id = $1", delivery_id)
    return None if row is None else _delivery(row)


async def replay(connection: Connection, delivery_id: int, *, now_ms: int) -> bool:
    """Queue what was given up again, its whole message; return False when it was not given up."""
    status = await connection.execute(
        """
        UPDATE notifier.delivery d SET
            state = 'retry', due_ms = $2, create_time_ms = $2, postponed_count = d.attempt_count
        FROM notifier.delivery asked
        WHERE asked.delivery_id = $1 AND asked.state = 'dead' AND d.state = 'dead'
            AND d.subscription_id = asked.subscription_id
            AND (d.delivery_id = $1 OR (d.message_id <> 0 AND d.message_id = asked.message_id))
        """,
        delivery_id,
        now_ms,
    )
    return bool(status != "UPDATE 0")


async def queue_test(connection: Connection, subscription: Subscription, *, request_id: str, now_ms: int) -> int:
    """Queue a test for a subscription, before everything else; return its delivery's id, the same for the same request.

    Quiet hours and digests do not hold it.
    """
    notice_id = f"test/{subscription.subscription_id}/{request_id}"
    payload = encode_test(notice_id=notice_id, time_ms=now_ms)
    notice_no = await queueing.take(connection, decode(payload), payload, now_ms=now_ms)
    if notice_no is None:
        notice_no = await connection.fetchval("SELECT notice_no FROM notifier.notice WHERE notice_id = $1", notice_id)
    await connection.execute(
        """
        INSERT INTO notifier.delivery (
            notice_no, subscription_id, channel, target, kind, subject, level, priority, state, due_ms, create_time_ms
        ) VALUES ($1, $2, $3, $4, $5, '', $5, $6, 'queued', $7, $7) ON CONFLICT DO NOTHING
        """,
        notice_no,
        subscription.subscription_id,
        subscription.channel.value,
        subscription.address,
        Kind.TEST.value,
        int(Priority.TEST),
        now_ms,
    )
    delivery_id = await connection.fetchval(
        "SELECT delivery_id FROM notifier.delivery WHERE (notice_no, subscription_id) = ($1, $2)",
        notice_no,
        subscription.subscription_id,
    )
    return int(delivery_id)


def _delivery(row: asyncpg.Record) -> Delivery:
    state = State(row["state"])
    is_waiting = state in {State.QUEUED, State.RETRY}
    return Delivery(
        delivery_id=row["delivery_id"],
        subscription=from_row(row),
        notice=decode(row["payload"]),
        state=state,
        attempt_count=row["attempt_count"],
        last_error=row["last_error"],
        create_time_ms=row["queue_time_ms"],
        next_attempt_time_ms=row["due_ms"] if is_waiting else 0,
        deliver_time_ms=row["deliver_time_ms"],
    )
