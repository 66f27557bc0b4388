"""Keep the bot's chats, updates and calls. SQL."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from notifier.bot_calls import UNPACED, Call
from notifier.pacing import allowance
from notifier.telegram_client import Upload
from runtime.postgres.pool import Connection

KEEP_MS: Final = 7 * 86_400_000
"""Updates and calls are kept for a week; Telegram repeats an update for a day at most."""
ATTEMPTS_MAX: Final = 5
UPDATE_ATTEMPTS_MAX: Final = 3
CHANNEL: Final = "telegram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What the bot knows of a chat.

    Attributes:
        chat_id: Its id.
        language: "en" or "ru".
        time_zone: IANA name.
        quiet_start_min: Minutes after midnight at which quiet hours begin; equal to the end: none.
        quiet_end_min: At which they end.
    """

    chat_id: int
    language: str
    time_zone: str = "UTC"
    quiet_start_min: int = 0
    quiet_end_min: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredUpdate:
    """An update that was not dealt with yet.

    Attributes:
        update_id: Telegram's number.
        chat_id: Whose order is kept; 0 for none.
        payload: As Telegram sent it, JSON.
    """

    update_id: int
    chat_id: int
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCall:
    """A call that waits to be made.

    Attributes:
        call_id: Its number.
        call: What is called.
        is_doubtful: Whether an earlier try may have arrived.
        attempt_count: Tries before this one.
    """

    call_id: int
    call: Call
    is_doubtful: bool
    attempt_count: int


async def get_chat(connection: Connection, chat_id: int) -> Chat | None:
    """Return a chat; None when it has never said anything."""
    row = await connection.fetchrow(
        """
        SELECT chat_id, language, time_zone, quiet_start_min, quiet_end_min FROM notifier.bot_chat WHERE chat_id = $1
        """,
        chat_id,
    )
    return None if row is None else Chat(**row)


async def put_chat(connection: Connection, chat: Chat, *, now_ms: int) -> None:
    """Keep what is known of a chat."""
    await connection.execute(
        """
        INSERT INTO notifier.bot_chat (chat_id, language, time_zone, quiet_start_min, quiet_end_min, create_time_ms)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (chat_id) DO UPDATE SET language = excluded.language, time_zone = excluded.time_zone,
            quiet_start_min = excluded.quiet_start_min, quiet_end_min = excluded.quiet_end_min
        """,
        chat.chat_id,
        chat.language,
        chat.time_zone,
        chat.quiet_start_min,
        chat.quiet_end_min,
        now_ms,
    )


async def move_chat(connection: Connection, old_id: int, new_id: int) -> None:
    """Carry over what a group has when Telegram gives it a new id."""
    await connection.execute(
        "DELETE FROM notifier.bot_chat WHERE chat_id = $2 AND EXISTS "
        "(SELECT FROM notifier.bot_chat WHERE chat_id = $1)",
        old_id,
        new_id,
    )
    await connection.execute("UPDATE notifier.bot_chat SET chat_id = $2 WHERE chat_id = $1", old_id, new_id)
    old, new = str(old_id), str(new_id)
    await connection.execute(
        "UPDATE notifier.subscription SET address = $3 WHERE (channel, address) = ($1, $2)", CHANNEL, old, new
    )
    await connection.execute(
        "UPDATE notifier.delivery SET target = $3 WHERE (channel, target) = ($1, $2) AND state IN ('queued', 'retry')",
        CHANNEL,
        old,
        new,
    )


async def put_updates(connection: Connection, updates: Sequence[StoredUpdate], *, now_ms: int) -> int:
    """Keep updates; return how many of them are new."""
    rows = await connection.fetch(
        """
        INSERT INTO notifier.bot_update (update_id, chat_id, payload, create_time_ms)
        SELECT *, $4 FROM unnest($1::bigint[], $2::bigint[], $3::text[])
        ON CONFLICT (update_id) DO NOTHING RETURNING update_id
        """,
        [update.update_id for update in updates],
        [update.chat_id for update in updates],
        [update.payload for update in updates],
        now_ms,
    )
    return len(rows)


async def list_new_updates(connection: Connection, *, not_chats: Sequence[int], count_max: int) -> list[StoredUpdate]:
    """Return the oldest open update of each chat that is not under way; those without a chat all."""
    rows = await connection.fetch(
        """
        SELECT update_id, chat_id, payload FROM (
            SELECT DISTINCT ON (CASE WHEN chat_id = 0 THEN update_id ELSE chat_id END) update_id, chat_id, payload
            FROM notifier.bot_update WHERE state = 'new' AND chat_id <> ALL ($1::bigint[])
            ORDER BY CASE WHEN chat_id = 0 THEN update_id ELSE chat_id END, update_id
        ) AS first ORDER BY update_id LIMIT $2
        """,
        list(not_chats),
        count_max,
    )
    return [StoredUpdate(**row) for row in rows]


async def claim_update(connection: Connection, update_id: int) -> bool:
    """Lock an update until the transaction ends; False when it is dealt with already."""
    found = await connection.fetchval(
        "SELECT true FROM notifier.bot_update WHERE update_id = $1 AND state = 'new' FOR UPDATE", update_id
    )
    return found is not None


async def finish_update(connection: Connection, update_id: int, calls: Sequence[Call], *, now_ms: int) -> None:
    """Queue the answers to an update and close it; in the transaction of its effects."""
    await put_calls(connection, update_id, calls, now_ms=now_ms)
    await connection.execute("UPDATE notifier.bot_update SET state = 'done' WHERE update_id = $1", update_id)


async def put_calls(connection: Connection, update_id: int, calls: Sequence[Call], *, now_ms: int) -> None:
    """Queue the answers to an update."""
    for ordinal, call in enumerate(calls):
        upload = call.upload
        await connection.execute(
            """
            INSERT INTO notifier.bot_call (update_id, ordinal, chat_id, method, params, file_field, file_name, file,
                due_ms, create_time_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
            """,
            update_id,
            ordinal,
            call.chat_id,
            call.method,
            json.dumps(call.params, ensure_ascii=True),
            upload.field if upload else "",
            upload.name if upload else "",
            upload.content if upload else None,
            now_ms,
        )


async def fail_update(connection: Connection, update_id: int, *, error: str) -> bool:
    """Count a failed try; after the last one set the update aside, and return True."""
    state = await connection.fetchval(
        """
        UPDATE notifier.bot_update SET attempt_count = attempt_count + 1, error = $2,
            state = CASE WHEN attempt_count + 1 >= $3 THEN 'poison' ELSE state END
        WHERE update_id = $1 AND state = 'new' RETURNING state
        """,
        update_id,
        error[:500],
        UPDATE_ATTEMPTS_MAX,
    )
    return bool(state == "poison")


async def take_calls(
    connection: Connection, *, not_chats: Sequence[int], count_max: int, now_ms: int, lease_ms: int
) -> list[StoredCall]:
    """Take the next call of each chat that is not under way; those that are no messages are not held up by the pace.

    A call whose lease has passed was cut off with its process: it is taken again, as doubtful.
    """
    rows = await connection.fetch(
        """
        WITH next AS (
            SELECT DISTINCT ON (chat_id) call_id, state, due_ms, lease_until_ms FROM notifier.bot_call
            WHERE state IN ('queued', 'sending') AND chat_id <> ALL ($1::bigint[]) ORDER BY chat_id, call_id
        ), taken AS (
            SELECT call_id FROM next
            WHERE due_ms <= $3 AND (state = 'queued' OR lease_until_ms <= $3) ORDER BY call_id LIMIT $2
        )
        UPDATE notifier.bot_call AS call SET state = 'sending', lease_until_ms = $3 + $4,
            is_doubtful = is_doubtful OR state = 'sending', attempt_count = attempt_count + 1
        FROM taken WHERE call.call_id = taken.call_id AND (state = 'queued' OR lease_until_ms <= $3)
        RETURNING call.call_id, chat_id, method, params, file_field, file_name, file, is_doubtful,
            attempt_count - 1 AS attempts
        """,
        list(not_chats),
        count_max,
        now_ms,
        lease_ms,
    )
    return [
        StoredCall(
            call_id=row["call_id"],
            call=Call(
                chat_id=row["chat_id"],
                method=row["method"],
                params=json.loads(row["params"]),
                upload=None
                if row["file"] is None
                else Upload(field=row["file_field"], name=row["file_name"], content=row["file"]),
            ),
            is_doubtful=row["is_doubtful"],
            attempt_count=row["attempts"],
        )
        for row in sorted(rows, key=lambda row: row["call_id"])
    ]


async def call_done(connection: Connection, call_id: int, *, message_id: int) -> None:
    """Note that Telegram has taken a call."""
    await connection.execute(
        "UPDATE notifier.bot_call SET state = 'sent', message_id = $2, file = NULL, file_field = '' WHERE call_id = $1",
        call_id,
        message_id,
    )


async def call_dead(connection: Connection, call_id: int, *, error: str) -> None:
    """Note that a call will never be taken."""
    await connection.execute(
        "UPDATE notifier.bot_call SET state = 'dead', last_error = $2, file = NULL, file_field = '' WHERE call_id = $1",
        call_id,
        error[:500],
    )


async def call_again(
    connection: Connection, call_id: int, *, due_ms: int, error: str, is_doubtful: bool, is_try: bool
) -> None:
    """Put a call back.

    Args:
        connection: The database.
        call_id: Which.
        due_ms: When it may be tried again.
        error: Why it did not work.
        is_doubtful: Whether it may have arrived.
        is_try: Whether it counts as a try.
    """
    await connection.execute(
        """
        UPDATE notifier.bot_call SET state = 'queued', lease_until_ms = 0, due_ms = $2, last_error = $3,
            is_doubtful = is_doubtful OR $4, attempt_count = attempt_count - CASE WHEN $5 THEN 0 ELSE 1 END
        WHERE call_id = $1
        """,
        call_id,
        due_ms,
        error[:500],
        is_doubtful,
        is_try,
    )


async def reserve(
    connection: Connection, call: Call, *, now_ms: int, per_s: float, burst: int, interval_ms: int
) -> int:
    """Take a place in the channel's and the chat's pace, which notices keep as well; return how long to wait.

    Returns:
        Milliseconds; 0 when the call may go out now, and then the place is taken.
    """
    if call.method in UNPACED:
        return 0
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO notifier.lane (channel, next_us) VALUES ($1, 0) ON CONFLICT (channel) DO NOTHING", CHANNEL
        )
        next_us = await connection.fetchval("SELECT next_us FROM notifier.lane WHERE channel = $1 FOR UPDATE", CHANNEL)
        free_ms = await connection.fetchval(
            "SELECT next_free_ms FROM notifier.target WHERE (channel, target) = ($1, $2) FOR UPDATE",
            CHANNEL,
            str(call.chat_id),
        )
        if free_ms is not None and free_ms > now_ms:
            return int(free_ms) - now_ms
        allowed = allowance(now_ms=now_ms, next_us=next_us, per_s=per_s, burst=burst, wanted=1)
        if not allowed.count:
            return max(1, allowed.wait_ms)
        await connection.execute("UPDATE notifier.lane SET next_us = $2 WHERE channel = $1", CHANNEL, allowed.next_us)
        await hold_target(connection, str(call.chat_id), until_ms=now_ms + interval_ms)
    return 0


async def hold_target(connection: Connection, target: str, *, until_ms: int) -> None:
    """Send nothing to a chat until a time."""
    await connection.execute(
        """
        INSERT INTO notifier.target AS target (channel, target, next_free_ms) VALUES ($1, $2, $3)
        ON CONFLICT (channel, target) DO UPDATE SET next_free_ms = greatest(target.next_free_ms, excluded.next_free_ms)
        """,
        CHANNEL,
        target,
        until_ms,
    )


async def hold_channel(connection: Connection, *, until_ms: int) -> None:
    """Send nothing to any chat until a time."""
    await connection.execute(
        """
        INSERT INTO notifier.lane AS lane (channel, next_us) VALUES ($1, $2)
        ON CONFLICT (channel) DO UPDATE SET next_us = greatest(lane.next_us, excluded.next_us)
        """,
        CHANNEL,
        until_ms * 1000,
    )


async def prune(connection: Connection, *, now_ms: int) -> None:
    """Forget what is old and over."""
    await connection.execute(
        "DELETE FROM notifier.bot_update WHERE state <> 'new' AND create_time_ms < $1", now_ms - KEEP_MS
    )
    await connection.execute(
        "DELETE FROM notifier.bot_call WHERE state IN ('sent', 'dead') AND create_time_ms < $1", now_ms - KEEP_MS
    )
