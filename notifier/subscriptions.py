"""Keep subscriptions. SQL."""

import base64
import secrets as random_secrets
from typing import Final

import asyncpg

from notifier.domain import ChannelKind, Subscription, checked, like_pattern
from notifier.errors import SubscriptionUnknown, TooManySubscriptions
from notifier.notices import Kind
from runtime.postgres.pool import Connection

SCHEMA: Final = "notifier"
PER_ADDRESS_MAX: Final = 100
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  says what follows

COLUMNS: Final = """
    subscription_id, channel, address, language, coin, account, worker_pattern, kinds, hashrate_percent,
    reject_percent, quiet_start_min, quiet_end_min, time_zone, digest_min, cooldown_s, is_paused, pause_reason,
    create_time_ms
"""


def from_row(row: asyncpg.Record) -> Subscription:
    """Return the subscription in a row with `COLUMNS`."""
    fields = {name: row[name] for name in (column.strip() for column in COLUMNS.split(","))}
    fields["channel"] = ChannelKind(fields["channel"])
    fields["kinds"] = frozenset(map(Kind, fields["kinds"]))
    return Subscription(**fields)


def new_secret() -> str:
    """Return a fresh webhook secret of 32 bytes, in the form of the Standard Webhooks specification."""
    return SECRET_PREFIX + base64.b64encode(random_secrets.token_bytes(32)).decode("ascii")


async def create(
    connection: Connection, subscription: Subscription, *, request_id: str, now_ms: int
) -> tuple[Subscription, str]:
    """Make a subscription, inside the caller's transaction; with the same request id return what was made then.

    Returns:
        The subscription, and the secret that its webhooks are signed with ("" on other channels).

    Raises:
        SubscriptionInvalid: When it says something that cannot be.
        TooManySubscriptions: When the address has too many.
    """
    known = await connection.fetchrow(
        f"SELECT {COLUMNS}, secrets FROM notifier.subscription WHERE request_id = $1", request_id
    )
    if known is None:
        wanted = checked(subscription)
        count = await connection.fetchval(
            "SELECT count(*) FROM notifier.subscription WHERE address = $1", wanted.address
        )
        if count >= PER_ADDRESS_MAX:
            raise TooManySubscriptions(PER_ADDRESS_MAX)
        keys = [new_secret()] if wanted.channel is ChannelKind.WEBHOOK else []
        known = await connection.fetchrow(
            f"""
            INSERT INTO notifier.subscription (
                request_id, channel, address, language, coin, account, worker_pattern, worker_like, kinds, told_kinds,
                hashrate_percent, reject_percent, quiet_start_min, quiet_end_min, time_zone, digest_min, cooldown_s,
                is_paused, pause_reason, create_time_ms, secrets
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, '', $19, $20)
            ON CONFLICT (request_id) DO UPDATE SET request_id = excluded.request_id
            RETURNING {COLUMNS}, secrets
            """,
            request_id,
            wanted.channel.value,
            wanted.address,
            *_said(wanted),
            wanted.is_paused,
            now_ms,
            keys,
        )
        assert known is not None  # RETURNING gives the row
    return from_row(known), (known["secrets"] or [""])[0]


async def update(connection: Connection, subscription: Subscription) -> Subscription:
    """Replace what a subscription says; ends a pause of the notifier's too, unless it is to stay paused.

    Raises:
        SubscriptionInvalid: When it says something that cannot be.
        SubscriptionUnknown: When there is none with its id.
    """
    wanted = checked(subscription)
    row = await connection.fetchrow(
        f"""
        UPDATE notifier.subscription SET
            channel = $2, address = $3, language = $4, coin = $5, account = $6, worker_pattern = $7, worker_like = $8,
            kinds = $9, told_kinds = $10, hashrate_percent = $11, reject_percent = $12, quiet_start_min = $13,
            quiet_end_min = $14, time_zone = $15, digest_min = $16, cooldown_s = $17, is_paused = $18,
            pause_reason = CASE WHEN $18 THEN pause_reason ELSE '' END,
            secrets = CASE WHEN $2 <> 'webhook' THEN '{{}}' WHEN secrets = '{{}}' THEN $19::text[] ELSE secrets END
        WHERE subscription_id = $1
        RETURNING {COLUMNS}
        """,
        wanted.subscription_id,
        wanted.channel.value,
        wanted.address,
        *_said(wanted),
        wanted.is_paused,
        [new_secret()],
    )
    if row is None:
        raise SubscriptionUnknown(wanted.subscription_id)
    await connection.execute(
        """
        UPDATE notifier.delivery SET channel = $2, target = $3
        WHERE subscription_id = $1 AND state IN ('queued', 'retry') AND (channel, target) <> ($2, $3)
        """,
        wanted.subscription_id,
        wanted.channel.value,
        wanted.address,
    )
    if wanted.is_paused:
        await _drop_pending(connection, wanted.subscription_id, "paused")
    return from_row(row)


async def pause(connection: Connection, subscription_id: int, *, reason: str) -> None:
    """Send nothing more to a subscription, for a reason of the notifier's; what waits is skipped."""
    await connection.execute(
        "UPDATE notifier.subscription SET is_paused = true, pause_reason = $2 WHERE subscription_id = $1",
        subscription_id,
        reason,
    )
    await _drop_pending(connection, subscription_id, "paused")


async def pause_address(connection: Connection, channel: ChannelKind, address: str, *, reason: str) -> int:
    """Pause every subscription of an address that is not paused yet; return how many: a chat that blocks the bot."""
    rows = await connection.fetch(
        "SELECT subscription_id FROM notifier.subscription WHERE (channel, address) = ($1, $2) AND NOT is_paused",
        channel.value,
        address,
    )
    for row in rows:
        await pause(connection, row["subscription_id"], reason=reason)
    return len(rows)


async def resume_address(connection: Connection, channel: ChannelKind, address: str) -> int:
    """End the pauses that the notifier itself has made for an address; return how many. The person's own stay."""
    status: str = await connection.execute(
        """
        UPDATE notifier.subscription SET is_paused = false, pause_reason = ''
        WHERE (channel, address) = ($1, $2) AND is_paused AND pause_reason <> ''
        """,
        channel.value,
        address,
    )
    return int(status.rpartition(" ")[2])


async def delete(connection: Connection, subscription_id: int) -> bool:
    """End a subscription and forget its deliveries; return whether there was one."""
    await connection.execute("DELETE FROM notifier.delivery WHERE subscription_id = $1", subscription_id)
    status: str = await connection.execute(
        "DELETE FROM notifier.subscription WHERE subscription_id = $1", subscription_id
    )
    return status == "DELETE 1"


async def get(connection: Connection, subscription_id: int) -> Subscription:
    """Return a subscription.

    Raises:
        SubscriptionUnknown: When there is none.
    """
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM notifier.subscription WHERE subscription_id = $1", subscription_id
    )
    if row is None:
        raise SubscriptionUnknown(subscription_id)
    return from_row(row)


async def list_page(
    connection: Connection,
    *,
    coin: str = "",
    account: str = "",
    channel: ChannelKind | None = None,
    address: str = "",
    after: int = 0,
    page_size: int,
) -> list[Subscription]:
    """Return subscriptions by id; filters that are empty do not filter."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS} FROM notifier.subscription
        WHERE subscription_id > $1 AND ($2 = '' OR coin = $2) AND ($3 = '' OR account = $3)
            AND ($4 = '' OR channel = $4) AND ($5 = '' OR address = $5)
        ORDER BY subscription_id LIMIT $6
        """,
        after,
        coin,
        account,
        channel.value if channel else "",
        address,
        page_size,
    )
    return [from_row(row) for row in rows]


async def rotate_secret(
    connection: Connection, subscription_id: int, *, request_id: str, expire_time_ms: int
) -> tuple[Subscription, str]:
    """Give a webhook a new secret; messages carry the old one's signature too until the given time.

    Returns:
        The subscription and its newest secret, the one made before when the request id is the same.

    Raises:
        SubscriptionUnknown: When there is no such webhook.
    """
    row = await connection.fetchrow(
        f"""
        UPDATE notifier.subscription SET
            secrets = CASE WHEN secret_request_id = $2 THEN secrets ELSE ARRAY[$3, secrets[1]] END,
            secret_expire_time_ms = CASE WHEN secret_request_id = $2 THEN secret_expire_time_ms ELSE $4 END,
            secret_request_id = $2
        WHERE subscription_id = $1 AND channel = 'webhook'
        RETURNING {COLUMNS}, secrets
        """,
        subscription_id,
        request_id,
        new_secret(),
        expire_time_ms,
    )
    if row is None:
        raise SubscriptionUnknown(subscription_id)
    return from_row(row), row["secrets"][0]


async def unsubscribe(connection: Connection, token: str) -> bool:
    """End the subscription with an unsubscribe token; return whether there was one."""
    found = await connection.fetchval(
        "SELECT subscription_id FROM notifier.subscription WHERE unsubscribe_token = $1::text::uuid", token
    )
    return found is not None and await delete(connection, found)


async def _drop_pending(connection: Connection, subscription_id: int, reason: str) -> None:
    await connection.execute(
        """
        UPDATE notifier.delivery SET state = 'skipped', held = $2
        WHERE subscription_id = $1 AND state IN ('queued', 'retry')
        """,
        subscription_id,
        reason,
    )


def _said(wanted: Subscription) -> tuple[object, ...]:
    return (
        wanted.language,
        wanted.coin,
        wanted.account,
        wanted.worker_pattern,
        like_pattern(wanted.worker_pattern),
        sorted(wanted.kinds),
        sorted(wanted.told_kinds),
        wanted.hashrate_percent,
        wanted.reject_percent,
        wanted.quiet_start_min,
        wanted.quiet_end_min,
        wanted.time_zone,
        wanted.digest_min,
        wanted.cooldown_s,
    )
