"""Decide who is offline, in one process for each coin, and tell it.

Each look reads how far the instances' streams have come (domain.StreamClock), and changes state and outbox in one
fenced transaction. What is shown (`ListWorkers`) and what is told is therefore the same.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from miners import notices
from miners.domain import Progress, StreamClock, StreamTime
from miners.half_hours import HalfHours
from miners.metrics import Counters
from miners.storage import SCHEMA, progress_of
from runtime.clock import Clock
from runtime.eventlog.interface import OutRecord
from runtime.exclusive import Term
from runtime.outbox import put
from runtime.postgres.fence import check_fence, take_fence
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact

LOOK_S: Final = 2.0
DECISIONS_MAX: Final = 500
"""Workers decided in one transaction."""
FORGOTTEN_MS: Final = 7 * 86_400_000
"""Who has been away for so long is not spoken of any more, neither as offline nor as back."""
_INSTANCES_KEPT_MS: Final = 8 * 86_400_000


class PresenceWatch:
    """Watches one coin's workers.

    Args:
        pool: The database, migrated.
        coin_id: The coin.
        clock: Paces the looks; what is decided depends on the stream's time only.
        counters: Counted up.
        on_put: Called after notices were committed.
    """

    def __init__(
        self, *, pool: Pool, coin_id: str, clock: Clock, counters: Counters, on_put: Callable[[], None]
    ) -> None:
        self._pool = pool
        self._coin_id = coin_id
        self._clock = clock
        self._counters = counters
        self._on_put = on_put
        self._name = f"presence/{coin_id}"

    async def run(self, _term: Term) -> None:
        """Look until cancelled.

        Raises:
            Fenced: When a later term has begun.
        """
        token = await transact(self._pool, lambda connection: take_fence(connection, SCHEMA, self._name))
        stream = StreamClock()
        half_hours = HalfHours(self._coin_id)
        looked_s = self._clock.monotonic_s()
        while True:
            now_s = self._clock.monotonic_s()
            time = stream.look(await self._instances(), elapsed_s=now_s - looked_s)
            looked_s = now_s
            if time is not None:
                await self.decide(token, time)
                await self._judge(token, half_hours, time)
            await self._clock.sleep(LOOK_S)

    async def _instances(self) -> dict[str, Progress]:
        async with acquired(self._pool) as connection:
            rows = await connection.fetch(
                """
                SELECT instance, coin, last_seq, run_start_ms, time_ms, is_closed FROM miners.instance
                WHERE coin = $1 AND time_ms > (SELECT max(time_ms) FROM miners.instance WHERE coin = $1) - $2::bigint
                """,
                self._coin_id,
                _INSTANCES_KEPT_MS,
            )
        return {row["instance"]: progress_of(row) for row in rows}

    async def decide(self, token: int, time: StreamTime) -> None:
        """Change the state of those whose presence has changed, and tell it.

        Raises:
            Fenced: When a later term has begun.
        """
        while True:

            async def work(connection: Connection) -> tuple[int, int, int]:
                await check_fence(connection, SCHEMA, self._name, token)
                return await decide(connection, coin_id=self._coin_id, time=time)

            changed, offline_count, online_count = await transact(self._pool, work)
            self._counters.offline_total += offline_count
            self._counters.online_total += online_count
            if offline_count or online_count:
                self._on_put()
            if changed < DECISIONS_MAX:
                return

    async def _judge(self, token: int, half_hours: HalfHours, time: StreamTime) -> None:
        if not half_hours.is_due(time):
            return

        async def work(connection: Connection) -> tuple[int, int]:
            await check_fence(connection, SCHEMA, self._name, token)
            return await half_hours.judge(connection, time)

        low_count, rejects_count = await transact(self._pool, work)
        half_hours.done(time)
        self._counters.hashrate_low_total += low_count
        self._counters.rejects_high_total += rejects_count
        if low_count or rejects_count:
            self._on_put()


async def decide(connection: Connection, *, coin_id: str, time: StreamTime) -> tuple[int, int, int]:
    """Change the state of those whose presence has changed; return how many, and how many were told as off and on."""
    back = await connection.fetch(
        """
        WITH back AS (
            SELECT worker_id, account.account, offline_since_ms AS since_ms FROM miners.worker
            JOIN miners.account USING (account_id)
            WHERE coin = $1 AND offline_since_ms IS NOT NULL AND worker.last_share_time_ms > offline_since_ms
            ORDER BY account_id, worker LIMIT $2 FOR NO KEY UPDATE OF worker
        )
        UPDATE miners.worker AS changed SET offline_since_ms = NULL FROM back WHERE changed.worker_id = back.worker_id
        RETURNING back.account, changed.worker, back.since_ms, changed.return_time_ms, changed.last_share_time_ms
        """,
        coin_id,
        DECISIONS_MAX,
    )
    gone = await connection.fetch(
        """
        WITH gone AS (
            SELECT worker_id, account.account FROM miners.worker JOIN miners.account USING (account_id)
            WHERE coin = $1 AND offline_since_ms IS NULL
                AND greatest(worker.last_share_time_ms, $2) + offline_after_ms < $3
            ORDER BY account_id, worker LIMIT $4 FOR NO KEY UPDATE OF worker
        )
        UPDATE miners.worker AS changed SET offline_since_ms = last_share_time_ms
        FROM gone WHERE changed.worker_id = gone.worker_id
        RETURNING gone.account, changed.worker, changed.last_share_time_ms,
            (old_ms + new_ms) / greatest(old_count + new_count, 1) AS interval_ms
        """,
        coin_id,
        time.awake_ms,
        time.now_ms,
        DECISIONS_MAX,
    )
    came = [_online(coin_id, row) for row in back if _returned_ms(row) - row["since_ms"] < FORGOTTEN_MS]
    went = [_offline(coin_id, row, time) for row in gone if time.now_ms - row["last_share_time_ms"] < FORGOTTEN_MS]
    await _tell(connection, [*came, *went])
    return max(len(back), len(gone)), len(went), len(came)


async def _tell(connection: Connection, records: Sequence[OutRecord]) -> None:
    await put(connection, SCHEMA, notices.TOPIC, records)
    # A look that changes many workers must not keep the process's other tasks waiting.
    await asyncio.sleep(0)


def _returned_ms(row: asyncpg.Record) -> int:
    """Return when a worker came back: its first share after the silence, as far as that is known."""
    returned_ms: int = row["return_time_ms"]
    return returned_ms if returned_ms > row["since_ms"] else row["last_share_time_ms"]


def _online(coin_id: str, row: asyncpg.Record) -> OutRecord:
    return notices.online(
        coin=coin_id,
        account=row["account"],
        worker=row["worker"],
        since_ms=row["since_ms"],
        return_ms=_returned_ms(row),
    )


def _offline(coin_id: str, row: asyncpg.Record, time: StreamTime) -> OutRecord:
    return notices.offline(
        coin=coin_id,
        account=row["account"],
        worker=row["worker"],
        time_ms=time.now_ms,
        last_share_time_ms=row["last_share_time_ms"],
        expected_interval_ms=row["interval_ms"],
    )
