"""Take deliveries out of the queue to send them, and write down what became of them. SQL.

queued → sending → sent | retry | dead; retry → sending …; queued and retry → skipped. A delivery in `sending` belongs
to the process whose claim it carries until the lease ends; then anybody takes it over. What was sent is written down
under the same claim, so a process that was frozen cannot speak for one that has taken over.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

import asyncpg

from notifier.channels.interface import Message, Scope
from notifier.domain import ChannelKind, Priority, Subscription
from notifier.notices import Kind
from notifier.pacing import allowance
from notifier.quiet import quiet_until_ms
from notifier.records import decode
from notifier.subscriptions import COLUMNS, from_row
from runtime.postgres.pool import Connection

BUNDLE_FROM: Final = 4
"""So many notices that wait for one subscription are sent as one message, also without a digest."""
BUNDLE_MAX: Final = 200
CLAIM_MAX: Final = 100
_LOOK_FACTOR: Final = 8
_KEY_NAMESPACE: Final = uuid.UUID("6f1d2c0e-64c5-4a58-9a0e-0b6a7a6f2b11")


class State(StrEnum):
    """Where a delivery is."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    RETRY = "retry"
    DEAD = "dead"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A message that this process is to send now.

    Attributes:
        claim_id: Names the claim.
        channel: Which way.
        delivery_ids: What it tells; the omitted ones too.
        message: What is sent.
        create_time_ms: When the oldest of it was queued.
        failed_count: Tries before this one that count.
        lease_until_ms: After that somebody else may send it.
    """

    claim_id: str
    channel: ChannelKind
    delivery_ids: tuple[int, ...]
    message: Message
    create_time_ms: int
    failed_count: int
    lease_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a look into the queue has brought.

    Attributes:
        claims: To be sent.
        wait_ms: How long until it is worth looking again when nothing new is queued; None when nobody knows.
    """

    claims: tuple[Claim, ...]
    wait_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms messages are claimed.

    Attributes:
        per_s: The channel's rate.
        burst: See `notifier.channels.interface.Pace`.
        interval_ms: Address → how long it rests after a message.
        lease_ms: How long a claim lasts.
        breakers: Kinds that quiet hours do not hold.
    """

    per_s: float
    burst: int
    interval_ms: Callable[[str], int]
    lease_ms: int
    breakers: Collection[Kind]


async def recover(connection: Connection, *, now_ms: int, own: Collection[str]) -> int:
    """Give back to the queue what processes were sending that have died; return how many.

    Args:
        connection: The database.
        now_ms: Now.
        own: Claims of this process that are still under way.
    """
    status: str = await connection.execute(
        """
        UPDATE notifier.delivery SET
            state = 'retry', claim_id = NULL, due_ms = $1, last_error = 'the process that was sending it went away'
        WHERE state = 'sending' AND lease_until_ms < $1 AND claim_id <> ALL ($2::uuid[])
        """,
        now_ms,
        list(own),
    )
    return int(status.rpartition(" ")[2])


async def claim(connection: Connection, channel: ChannelKind, *, wanted: int, now_ms: int, terms: Terms) -> Claimed:
    """Take up to `wanted` messages of a channel, the most urgent first, as many as its rate allows.

    Call it in a transaction of its own, and send after it is committed. At most one message an address; an address
    rests for its interval afterwards, so one chat with much to read keeps nobody else waiting.
    """
    await connection.execute(
        "INSERT INTO notifier.lane (channel, next_us) VALUES ($1, 0) ON CONFLICT DO NOTHING", channel.value
    )
    # Who finds the row held leaves the turn to the other process.
    next_us = await connection.fetchval(
        "SELECT next_us FROM notifier.lane WHERE channel = $1 FOR UPDATE SKIP LOCKED", channel.value
    )
    if next_us is None:
        return Claimed(claims=(), wait_ms=50)
    allowed = allowance(
        now_ms=now_ms, next_us=next_us, per_s=terms.per_s, burst=terms.burst, wanted=min(wanted, CLAIM_MAX)
    )
    if not allowed.count:
        return Claimed(claims=(), wait_ms=allowed.wait_ms)
    leads = await _leads(connection, channel, count=allowed.count, now_ms=now_ms)
    leads, are_quiet = _without_quiet(leads, now_ms=now_ms, breakers=terms.breakers)
    await _hold(connection, are_quiet)
    claims = await _claim_leads(connection, channel, leads, now_ms=now_ms, lease_ms=terms.lease_ms)
    if claims:
        used = allowance(now_ms=now_ms, next_us=next_us, per_s=terms.per_s, burst=terms.burst, wanted=len(claims))
        await connection.execute(
            "UPDATE notifier.lane SET next_us = $2 WHERE channel = $1", channel.value, used.next_us
        )
        await _rest(
            connection,
            channel,
            [
                (taken.message.subscription.address, now_ms + terms.interval_ms(taken.message.subscription.address))
                for taken in claims
            ],
        )
    if claims or are_quiet:
        return Claimed(claims=tuple(claims), wait_ms=0)
    return Claimed(claims=(), wait_ms=await _until_next_ms(connection, channel, now_ms=now_ms))


async def record_sent(connection: Connection, done: Claim, *, reference: str, now_ms: int) -> bool:
    """Write down that a message was taken; return False when the claim was not ours any more."""
    return await _finish(
        connection,
        done,
        "state = 'sent', deliver_time_ms = $3, reference = $4, last_error = ''",
        now_ms,
        reference[:200],
    )


async def record_retry(
    connection: Connection, failed: Claim, *, due_ms: int, reason: str, scope: Scope, is_counted: bool
) -> bool:
    """Write down that a message is tried again at a time, and let its address or its channel wait until then."""
    is_ours = await _finish(
        connection,
        failed,
        "state = 'retry', due_ms = $3, last_error = $4, postponed_count = postponed_count + $5",
        due_ms,
        reason[:500],
        0 if is_counted else 1,
    )
    if scope is Scope.TARGET:
        await _rest(connection, failed.channel, [(failed.message.subscription.address, due_ms)])
    elif scope is Scope.CHANNEL:
        await connection.execute(
            "UPDATE notifier.lane SET next_us = greatest(next_us, $2) WHERE channel = $1",
            failed.channel.value,
            due_ms * 1000,
        )
    return is_ours


async def record_dead(connection: Connection, failed: Claim, *, reason: str) -> bool:
    """Write down that a message is given up."""
    return await _finish(connection, failed, "state = 'dead', last_error = $3", reason[:500])


async def give_up(connection: Connection, claim: Claim) -> bool:
    """Give a claim back untouched: nothing was sent."""
    return await _finish(connection, claim, "state = 'retry', postponed_count = postponed_count + 1")


async def _finish(connection: Connection, done: Claim, what: str, *values: object) -> bool:
    status: str = await connection.execute(
        f"""
        UPDATE notifier.delivery SET claim_id = NULL, {what}
        WHERE delivery_id = ANY ($1::bigint[]) AND claim_id = $2::text::uuid
        """,
        list(done.delivery_ids),
        done.claim_id,
        *values,
    )
    return status != "UPDATE 0"


async def _leads(connection: Connection, channel: ChannelKind, *, count: int, now_ms: int) -> list[asyncpg.Record]:
    """Return the deliveries whose turn it is, one an address."""
    return await connection.fetch(
        """
        SELECT * FROM (
            SELECT *, row_number() OVER (PARTITION BY target ORDER BY priority, due_ms, delivery_id) AS place FROM (
                SELECT d.delivery_id, d.subscription_id, d.target, d.state, d.held, d.message_id, d.priority, d.due_ms,
                    d.kind, s.time_zone, s.quiet_start_min, s.quiet_end_min
                FROM notifier.delivery d
                JOIN notifier.subscription s ON s.subscription_id = d.subscription_id AND NOT s.is_paused
                LEFT JOIN notifier.target t ON t.channel = d.channel AND t.target = d.target AND t.next_free_ms > $2
                WHERE d.channel = $1 AND d.state IN ('queued', 'retry') AND d.due_ms <= $2 AND t.target IS NULL
                ORDER BY d.priority, d.due_ms, d.delivery_id LIMIT $3
            ) first
        ) looked
        WHERE place = 1 ORDER BY priority, due_ms, delivery_id LIMIT $4
        """,
        channel.value,
        now_ms,
        count * _LOOK_FACTOR + 50,
        count,
    )


def _without_quiet(
    leads: Sequence[asyncpg.Record], *, now_ms: int, breakers: Collection[Kind]
) -> tuple[list[asyncpg.Record], list[tuple[int, int]]]:
    """Part what may be sent now from what has run into quiet hours: (delivery, until when)."""
    free, held = [], []
    for lead in leads:
        until_ms = now_ms
        if lead["priority"] != Priority.TEST and lead["kind"] not in breakers:
            until_ms = quiet_until_ms(
                now_ms=now_ms,
                start_min=lead["quiet_start_min"],
                end_min=lead["quiet_end_min"],
                time_zone=lead["time_zone"],
            )
        if until_ms > now_ms:
            held.append((lead["delivery_id"], until_ms))
        else:
            free.append(lead)
    return free, held


async def _hold(connection: Connection, held: Sequence[tuple[int, int]]) -> None:
    if not held:
        return
    await connection.execute(
        """
        UPDATE notifier.delivery d SET due_ms = q.until_ms, held = CASE WHEN d.state = 'queued' THEN 'quiet' ELSE '' END
        FROM unnest($1::bigint[], $2::bigint[]) AS q(delivery_id, until_ms)
        WHERE d.delivery_id = q.delivery_id AND d.state IN ('queued', 'retry')
        """,
        [delivery_id for delivery_id, _ in held],
        [until_ms for _, until_ms in held],
    )


async def _claim_leads(
    connection: Connection, channel: ChannelKind, leads: Sequence[asyncpg.Record], *, now_ms: int, lease_ms: int
) -> list[Claim]:
    if not leads:
        return []
    waiting = await connection.fetch(
        """
        SELECT d.* FROM unnest($1::bigint[]) AS l(subscription_id) CROSS JOIN LATERAL (
            SELECT delivery_id, subscription_id, state, held, message_id, priority FROM notifier.delivery
            WHERE subscription_id = l.subscription_id AND state IN ('queued', 'retry') AND due_ms <= $2
            ORDER BY delivery_id LIMIT $3
        ) d
        """,
        sorted({lead["subscription_id"] for lead in leads}),
        now_ms,
        BUNDLE_MAX,
    )
    beside = {key: list(rows) for key, rows in groupby(waiting, key=lambda row: row["subscription_id"])}
    wanted: list[tuple[int, int, uuid.UUID]] = []
    for lead in leads:
        ids = _bundle(lead, beside.get(lead["subscription_id"], []))
        claim_id = uuid.uuid4()
        message_id = lead["message_id"] or min(ids)
        wanted.extend((delivery_id, message_id, claim_id) for delivery_id in ids)
    taken = await connection.fetch(
        """
        WITH free AS (
            SELECT delivery_id, w.message_id, w.claim_id FROM notifier.delivery d
            JOIN unnest($1::bigint[], $2::bigint[], $3::uuid[]) AS w(delivery_id, message_id, claim_id)
                USING (delivery_id)
            WHERE d.state IN ('queued', 'retry') ORDER BY delivery_id FOR UPDATE OF d SKIP LOCKED
        )
        UPDATE notifier.delivery d SET
            state = 'sending', held = '', claim_id = free.claim_id, message_id = free.message_id,
            lease_until_ms = $4, attempt_count = attempt_count + 1
        FROM free WHERE d.delivery_id = free.delivery_id
        RETURNING d.delivery_id, d.subscription_id, d.notice_no, d.claim_id, d.message_id, d.attempt_count,
            d.postponed_count, d.create_time_ms
        """,
        [entry[0] for entry in wanted],
        [entry[1] for entry in wanted],
        [entry[2] for entry in wanted],
        now_ms + lease_ms,
    )
    return await _loaded(connection, channel, taken, now_ms=now_ms, lease_ms=lease_ms)


def _bundle(lead: asyncpg.Record, beside: Sequence[asyncpg.Record]) -> list[int]:
    """Return what goes out as one message: what did before, a digest, or what has heaped up."""
    own = int(lead["delivery_id"])
    if lead["message_id"]:
        return sorted({own, *(row["delivery_id"] for row in beside if row["message_id"] == lead["message_id"])})
    fresh = [row for row in beside if not row["message_id"] and row["priority"] != Priority.TEST]
    if lead["priority"] == Priority.TEST:
        return [own]
    if lead["held"] == "digest" or len(fresh) >= BUNDLE_FROM:
        return sorted({own, *(row["delivery_id"] for row in fresh)})
    return [own]


async def _loaded(
    connection: Connection, channel: ChannelKind, taken: Sequence[asyncpg.Record], *, now_ms: int, lease_ms: int
) -> list[Claim]:
    subscriptions = {
        row["subscription_id"]: row
        for row in await connection.fetch(
            f"""
            SELECT {COLUMNS}, secrets, secret_expire_time_ms, unsubscribe_token::text AS token
            FROM notifier.subscription WHERE subscription_id = ANY ($1::bigint[])
            """,
            sorted({row["subscription_id"] for row in taken}),
        )
    }
    payloads = {
        row["notice_no"]: row["payload"]
        for row in await connection.fetch(
            "SELECT notice_no, payload FROM notifier.notice WHERE notice_no = ANY ($1::bigint[])",
            sorted({row["notice_no"] for row in taken}),
        )
    }
    claims = []
    ordered = sorted(taken, key=lambda row: (row["claim_id"].bytes, row["delivery_id"]))
    for claim_id, group in groupby(ordered, key=lambda row: row["claim_id"]):
        rows = list(group)
        notices = tuple(decode(payloads[row["notice_no"]]) for row in rows if row["notice_no"] in payloads)
        keeper = subscriptions[rows[0]["subscription_id"]]
        secrets = keeper["secrets"][: 2 if keeper["secret_expire_time_ms"] > now_ms else 1]
        subscription: Subscription = from_row(keeper)
        key = uuid.uuid5(_KEY_NAMESPACE, f"{subscription.subscription_id}/{rows[0]['message_id']}")
        claims.append(
            Claim(
                claim_id=str(claim_id),
                channel=channel,
                delivery_ids=tuple(row["delivery_id"] for row in rows),
                message=Message(
                    key=str(key),
                    subscription=subscription,
                    notices=notices,
                    attempt=rows[0]["attempt_count"],
                    secrets=tuple(secrets),
                    unsubscribe_token=keeper["token"],
                ),
                create_time_ms=min(row["create_time_ms"] for row in rows),
                failed_count=rows[0]["attempt_count"] - rows[0]["postponed_count"] - 1,
                lease_until_ms=now_ms + lease_ms,
            )
        )
    return claims


async def _rest(connection: Connection, channel: ChannelKind, rests: Sequence[tuple[str, int]]) -> None:
    """Let addresses rest until a time."""
    until = {target: max(ms for other, ms in rests if other == target) for target, _ in rests}
    await connection.execute(
        """
        INSERT INTO notifier.target AS old (channel, target, next_free_ms)
        SELECT $1, target, free_ms FROM unnest($2::text[], $3::bigint[]) AS new(target, free_ms)
        ON CONFLICT (channel, target) DO UPDATE SET next_free_ms = greatest(old.next_free_ms, excluded.next_free_ms)
        """,
        channel.value,
        sorted(until),
        [until[target] for target in sorted(until)],
    )


async def _until_next_ms(connection: Connection, channel: ChannelKind, *, now_ms: int) -> int | None:
    """Return how long until the next delivery is due, or the address of one that is due has rested."""
    at_ms = await connection.fetchval(
        """
        SELECT min(greatest(d.due_ms, coalesce(t.next_free_ms, 0)))
            FILTER (WHERE greatest(d.due_ms, coalesce(t.next_free_ms, 0)) > $2)
        FROM (
            SELECT target, due_ms FROM notifier.delivery
            WHERE channel = $1 AND state IN ('queued', 'retry') ORDER BY priority, due_ms LIMIT 500
        ) d LEFT JOIN notifier.target t ON t.channel = $1 AND t.target = d.target
        """,
        channel.value,
        now_ms,
    )
    return None if at_ms is None else at_ms - now_ms
