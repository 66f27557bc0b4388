"""Queue a notice for everybody who wants it: in statements over all subscriptions at once. SQL.

What `domain.wants` says stands here a second time; tests compare the two.
"""

from collections.abc import Collection
from decimal import Decimal
from typing import Final

from notifier.domain import Priority, priority_of
from notifier.notices import OPPOSITES, HashrateLow, Kind, Notice, RejectsHigh
from notifier.quiet import quiet_until_ms
from runtime.postgres.pool import Connection

CONDITIONS: Final = frozenset({Kind.WORKER_OFFLINE, Kind.WORKER_ONLINE, Kind.HASHRATE_LOW, Kind.REJECTS_HIGH})
"""What is worth telling only while it is fresh."""

# $1 coin, $2 kind, $3 worker or NULL, $4 hps * 100 or NULL, $5 usual hps, $6 refused shares in hundredths or NULL,
# $7 the account.
_WANTS: Final = """
    NOT s.is_paused AND s.coin IN ('', $1) AND $2::text = ANY (s.told_kinds)
    AND ($3::text IS NULL OR $3::text LIKE s.worker_like)
    AND ($4::numeric IS NULL OR $4::numeric < $5::numeric * s.hashrate_percent)
    AND ($6::integer IS NULL OR $6::integer >= s.reject_percent * 100)
"""
_OF_ACCOUNT: Final = " AND s.account = $7"
_OF_POOL: Final = " AND $7 = ''"


async def take(connection: Connection, notice: Notice, payload: bytes, *, now_ms: int) -> int | None:
    """Remember a notice inside the caller's transaction; return its number, or None when it was known already."""
    number = await connection.fetchval(
        """
        INSERT INTO notifier.notice (notice_id, payload, create_time_ms) VALUES ($1, $2, $3)
        ON CONFLICT (notice_id) DO NOTHING RETURNING notice_no
        """,
        notice.notice_id,
        payload,
        now_ms,
    )
    return None if number is None else int(number)


async def queue(
    connection: Connection, notice: Notice, notice_no: int, *, now_ms: int, breakers: Collection[Kind]
) -> int:
    """Queue a notice for each subscription that wants it, inside the caller's transaction; return for how many.

    When it is sent is decided here: at once, after the quiet hours, with the digest, or after the cool-down. Within a
    cool-down a later notice of the same subject replaces the one that waits; one that takes it back removes both.
    Cost: about 10 µs a subscription that wants it.
    """
    event = notice.event
    wanted: tuple[object, ...] = (
        notice.coin,
        notice.kind.value,
        notice.worker,
        Decimal(event.hps * 100) if isinstance(event, HashrateLow) else None,
        Decimal(event.usual_hps) if isinstance(event, HashrateLow) else None,
        event.percent_hundredths if isinstance(event, RejectsHigh) else None,
        notice.account,
    )
    where = _WANTS + (_OF_ACCOUNT if notice.account else _OF_POOL)
    is_breaker = notice.kind in breakers
    releases = [] if is_breaker else await _releases(connection, where, wanted, now_ms=now_ms)
    returned: list[int] = []
    replaced: list[tuple[int, int]] = []
    if notice.subject:
        returned, replaced = await _take_back(connection, notice, where, wanted)
    status: str = await connection.execute(
        f"""
        INSERT INTO notifier.delivery (
            notice_no, subscription_id, channel, target, kind, subject, level, priority, state, held, due_ms,
            create_time_ms
        )
        SELECT $8::bigint, s.subscription_id, s.channel, s.address, $2::text, $9::text, $10::text, $11::smallint,
            CASE WHEN r.subscription_id IS NULL THEN 'queued' ELSE 'skipped' END,
            CASE WHEN r.subscription_id IS NOT NULL THEN 'returned'
                WHEN coalesce(p.due_ms, c.due_ms) > $12 THEN 'cooldown'
                WHEN s.digest_min > 0 AND NOT $13 THEN 'digest'
                WHEN q.release_ms > $12 THEN 'quiet' ELSE '' END,
            greatest(
                $12::bigint,
                coalesce(p.due_ms, c.due_ms),
                CASE WHEN s.digest_min > 0 AND NOT $13
                    THEN ($12::bigint / (s.digest_min * 60000::bigint) + 1) * s.digest_min * 60000 END,
                q.release_ms
            ),
            $12::bigint
        FROM notifier.subscription s
        LEFT JOIN unnest($14::text[], $15::integer[], $16::integer[], $17::bigint[])
            AS q(time_zone, quiet_start_min, quiet_end_min, release_ms)
            USING (time_zone, quiet_start_min, quiet_end_min)
        LEFT JOIN unnest($18::bigint[]) AS r(subscription_id) ON r.subscription_id = s.subscription_id
        LEFT JOIN unnest($19::bigint[], $20::bigint[]) AS p(subscription_id, due_ms)
            ON p.subscription_id = s.subscription_id
        {_COOLING if notice.subject else _NOT_COOLING}
        WHERE {where}
        ORDER BY s.subscription_id
        ON CONFLICT (subscription_id, notice_no) DO NOTHING
        """,
        *wanted,
        notice_no,
        notice.subject,
        notice.level,
        int(Priority.URGENT if is_breaker else priority_of(notice.kind)),
        now_ms,
        is_breaker,
        [row[0] for row in releases],
        [row[1] for row in releases],
        [row[2] for row in releases],
        [row[3] for row in releases],
        returned,
        [subscription_id for subscription_id, _ in replaced],
        [due_ms for _, due_ms in replaced],
        timeout=120,
    )
    return int(status.rpartition(" ")[2])


# The last one of the same level: from when it was delivered, or is to be, the cool-down runs.
_COOLING: Final = """
    LEFT JOIN LATERAL (
        SELECT s.cooldown_s * 1000::bigint
            + CASE WHEN d.state = 'sent' THEN d.deliver_time_ms ELSE d.due_ms END AS due_ms
        FROM notifier.delivery d
        WHERE d.subscription_id = s.subscription_id AND d.subject = $9 AND d.level = $10 AND d.state <> 'skipped'
        ORDER BY d.delivery_id DESC LIMIT 1
    ) c ON s.cooldown_s > 0
"""
_NOT_COOLING: Final = "CROSS JOIN (SELECT NULL::bigint AS due_ms) c"


async def _releases(
    connection: Connection, where: str, wanted: tuple[object, ...], *, now_ms: int
) -> list[tuple[str, int, int, int]]:
    """Return the quiet hours of those who want it that hold now, with their end: few, however many subscriptions."""
    rows = await connection.fetch(
        f"""
        SELECT DISTINCT s.time_zone, s.quiet_start_min, s.quiet_end_min FROM notifier.subscription s
        WHERE s.quiet_start_min <> s.quiet_end_min AND {where}
        """,
        *wanted,
    )
    found = []
    for zone, start_min, end_min in rows:
        until_ms = quiet_until_ms(now_ms=now_ms, start_min=start_min, end_min=end_min, time_zone=zone)
        if until_ms > now_ms:
            found.append((zone, start_min, end_min, until_ms))
    return found


async def _take_back(
    connection: Connection, notice: Notice, where: str, wanted: tuple[object, ...]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Skip what waits for the cool-down and is overtaken.

    Returns:
        Subscriptions that know the state they are in again, and (subscription, when it was to be sent) of those
        where the notice takes the place of an earlier one.
    """
    levels = [before for before, after in OPPOSITES if after == notice.level]
    rows = await connection.fetch(
        f"""
        UPDATE notifier.delivery d SET
            state = 'skipped', held = CASE WHEN d.level = $9 THEN 'replaced' ELSE 'returned' END
        FROM notifier.subscription s
        WHERE d.subscription_id = s.subscription_id AND d.subject = $8 AND d.state = 'queued'
            AND d.held = 'cooldown' AND d.level = ANY ($10::text[]) AND {where}
        RETURNING d.subscription_id, d.held, d.due_ms
        """,
        *wanted,
        notice.subject,
        notice.level,
        [notice.level, *levels],
    )
    returned = [row["subscription_id"] for row in rows if row["held"] == "returned"]
    replaced = [(row["subscription_id"], row["due_ms"]) for row in rows if row["held"] == "replaced"]
    return returned, replaced
