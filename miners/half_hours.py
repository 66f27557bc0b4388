"""Judge hashrates and refused shares once each half hour of the stream, and tell what has crossed a step."""

from collections.abc import Iterable
from typing import Final

import asyncpg

from miners import notices
from miners.domain import BIN_MS, StreamTime
from miners.judgement import HOUR_MS, USUAL_MS, Hour, bin_due, hashrate_step, refused, reject_step
from miners.storage import SCHEMA
from runtime.eventlog.interface import OutRecord
from runtime.outbox import put
from runtime.postgres.pool import Connection

BINS_KEPT_MS: Final = 2 * 86_400_000

_OUTCOMES: Final = ("accepted", "stale", "duplicate", "low_difficulty", "invalid")

_WORKERS: Final = """
WITH summed AS (
    SELECT worker_id,
        coalesce(sum(work) FILTER (WHERE start_ms >= $2), 0) AS work,
        coalesce(sum(work) FILTER (WHERE start_ms < $2), 0) AS usual_work,
        coalesce(sum(accepted) FILTER (WHERE start_ms >= $2), 0) AS accepted,
        coalesce(sum(stale) FILTER (WHERE start_ms >= $2), 0) AS stale,
        coalesce(sum(duplicate) FILTER (WHERE start_ms >= $2), 0) AS duplicate,
        coalesce(sum(low_difficulty) FILTER (WHERE start_ms >= $2), 0) AS low_difficulty,
        coalesce(sum(invalid) FILTER (WHERE start_ms >= $2), 0) AS invalid
    FROM miners.worker_bin WHERE start_ms >= $1 AND start_ms < $3
    GROUP BY worker_id
)
SELECT summed.*, account.account_id, account.account, worker.worker, account.hashrate_step AS account_step,
    worker.hashrate_step, worker.reject_step, worker.create_time_ms, account.create_time_ms AS account_create_time_ms,
    worker.offline_since_ms IS NOT NULL AS is_offline
FROM summed JOIN miners.worker USING (worker_id) JOIN miners.account USING (account_id)
WHERE account.coin = $4
ORDER BY account_id, worker
"""


class HalfHours:
    """Judges a coin's half hours, each once.

    Args:
        coin_id: The coin.
    """

    def __init__(self, coin_id: str) -> None:
        self._coin_id = coin_id
        self._judged_ms = 0

    def is_due(self, time: StreamTime) -> bool:
        """Tell whether a half hour is over that was not judged by this process."""
        return bin_due(time.now_ms) > self._judged_ms

    def done(self, time: StreamTime) -> None:
        """Note that it was judged and committed."""
        self._judged_ms = bin_due(time.now_ms)

    async def judge(self, connection: Connection, time: StreamTime) -> tuple[int, int]:
        """Judge the hour that ends with the newest half hour; return how many hashrates and rejects were told.

        A half hour that another process has judged, and one in which the pool did not take shares all the time, changes
        nothing.
        """
        newest_ms = bin_due(time.now_ms)
        is_new = await connection.fetchval(
            """
            INSERT INTO miners.judged AS old (coin, bin_start_ms) VALUES ($1, $2)
            ON CONFLICT (coin) DO UPDATE SET bin_start_ms = excluded.bin_start_ms
            WHERE old.bin_start_ms < excluded.bin_start_ms
            RETURNING true
            """,
            self._coin_id,
            newest_ms,
        )
        if not is_new:
            return 0, 0
        end_ms = newest_ms + BIN_MS
        await connection.execute("DELETE FROM miners.worker_bin WHERE start_ms < $1", end_ms - BINS_KEPT_MS)
        hour_ms = end_ms - HOUR_MS
        if time.awake_ms > hour_ms:
            return 0, 0
        rows = await connection.fetch(_WORKERS, hour_ms - USUAL_MS, hour_ms, end_ms, self._coin_id)
        low = [record for row in rows for record in await self._hashrate(connection, row, end_ms=end_ms)]
        low += await self._accounts(connection, rows, end_ms=end_ms)
        rejects = [record for row in rows for record in await self._rejects(connection, row, end_ms=end_ms)]
        await put(connection, SCHEMA, notices.TOPIC, [*low, *rejects])
        return len(low), len(rejects)

    async def _hashrate(self, connection: Connection, row: asyncpg.Record, *, end_ms: int) -> list[OutRecord]:
        if row["is_offline"]:
            return []
        hour = _hour([row], create_ms=row["create_time_ms"], end_ms=end_ms)
        step = hashrate_step(hour, told=row["hashrate_step"])
        if step == row["hashrate_step"]:
            return []
        await connection.execute(
            "UPDATE miners.worker SET hashrate_step = $2 WHERE worker_id = $1", row["worker_id"], step
        )
        return [] if not step else [self._low(row["account"], row["worker"], hour, step=step, end_ms=end_ms)]

    async def _accounts(
        self, connection: Connection, rows: Iterable[asyncpg.Record], *, end_ms: int
    ) -> list[OutRecord]:
        by_account: dict[int, list[asyncpg.Record]] = {}
        for row in rows:
            by_account.setdefault(row["account_id"], []).append(row)
        told = []
        for account_id, own in sorted(by_account.items()):
            if len(own) == 1:
                continue
            hour = _hour(own, create_ms=own[0]["account_create_time_ms"], end_ms=end_ms)
            step = hashrate_step(hour, told=own[0]["account_step"])
            if step == own[0]["account_step"]:
                continue
            await connection.execute(
                "UPDATE miners.account SET hashrate_step = $2 WHERE account_id = $1", account_id, step
            )
            if step:
                told.append(self._low(own[0]["account"], None, hour, step=step, end_ms=end_ms))
        return told

    async def _rejects(self, connection: Connection, row: asyncpg.Record, *, end_ms: int) -> list[OutRecord]:
        counts = [int(row[name]) for name in _OUTCOMES]
        step = reject_step(counts, told=row["reject_step"])
        if step == row["reject_step"]:
            return []
        await connection.execute(
            "UPDATE miners.worker SET reject_step = $2 WHERE worker_id = $1", row["worker_id"], step
        )
        if step < row["reject_step"]:
            return []
        reason, percent_hundredths, share_count = refused(counts)
        return [
            notices.rejects_high(
                coin=self._coin_id,
                account=row["account"],
                worker=row["worker"],
                time_ms=end_ms,
                reason=reason,
                percent_hundredths=percent_hundredths,
                share_count=share_count,
                step_percent=step,
            )
        ]

    def _low(self, account: str, worker: str | None, hour: Hour, *, step: int, end_ms: int) -> OutRecord:
        return notices.hashrate_low(
            coin=self._coin_id,
            account=account,
            worker=worker,
            time_ms=end_ms,
            hps=hour.hps,
            usual_hps=hour.usual_hps,
            step_percent=step,
        )


def _hour(rows: Iterable[asyncpg.Record], *, create_ms: int, end_ms: int) -> Hour:
    entries = list(rows)
    hour_ms = end_ms - HOUR_MS
    return Hour(
        work=int(sum(row["work"] for row in entries)),
        accepted=int(sum(row["accepted"] for row in entries)),
        usual_work=int(sum(row["usual_work"] for row in entries)),
        usual_ms=max(hour_ms - max(hour_ms - USUAL_MS, create_ms), 0),
    )
