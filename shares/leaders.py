"""Accounts in the order of their work, kept for a moment: many readers and pages cost one query, and do not wait."""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.clock import Clock
from runtime.postgres.pool import Pool, acquired
from shares.hashrate import HashrateWindow

OLD_RATIO_MAX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """An account in a ranking.

    Attributes:
        work: Its accepted work in the window.
        account: Its address.
        account_id: Its key.
        worker_count: Its workers with accepted work in the window.
    """

    work: int
    account: str
    account_id: int
    worker_count: int

    @property
    def place(self) -> tuple[int, str]:
        """Return where it stands in the order; no two alike."""
        return -self.work, self.account


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All accounts of a coin at one moment, greatest work first, then by account.

    Attributes:
        coin_key: The coin; 0 before its first share.
        first_share_ms: Time of the pool's first share.
        made_ms: When the order was made, milliseconds since the Unix epoch.
        entries: The accounts.
    """

    coin_key: int
    first_share_ms: int
    made_ms: int
    entries: Sequence[Ranked]

    def page(self, *, after: tuple[int, str] | None, size: int) -> Sequence[Ranked]:
        """Return the accounts that follow the place (work, account); None begins with the first."""
        start = 0
        if after is not None:
            start = bisect_right(self.entries, (-after[0], after[1]), key=lambda entry: entry.place)
        return self.entries[start : start + size]


class Ranking:
    """Orders of accounts by coin.

    One that is older than `keep_s` is made anew beside the request that finds it so; who asks meanwhile gets the old
    one. Nobody gets one older than `keep_s` × OLD_RATIO_MAX: who would, waits for the new one, all for the same.

    Args:
        pool: The database.
        clock: The time.
        window: What is ranked by.
        keep_s: How long an order is good.
    """

    def __init__(self, *, pool: Pool, clock: Clock, window: HashrateWindow, keep_s: float) -> None:
        self._pool = pool
        self._clock = clock
        self._window = window
        self._keep_s = keep_s
        self._orders: dict[str, tuple[float, Order]] = {}
        self._making: dict[str, asyncio.Task[Order]] = {}

    async def order(self, coin: str) -> Order:
        """Return the coin's accounts in order.

        Raises:
            DatabaseUnavailable: When there is none that is young enough, and the database is away.
        """
        found = self._orders.get(coin)
        age_s = 0.0 if found is None else self._clock.monotonic_s() - found[0]
        if found is not None and age_s < self._keep_s:
            return found[1]
        making = self._making.get(coin)
        if making is None:
            making = self._making[coin] = asyncio.create_task(self._make(coin))
            making.add_done_callback(_retrieve)
        if found is not None and age_s < self._keep_s * OLD_RATIO_MAX:
            return found[1]
        return await asyncio.shield(making)

    async def _make(self, coin: str) -> Order:
        try:
            start_s = self._clock.monotonic_s()
            order = await self._read(coin)
            if order.coin_key:
                self._orders[coin] = start_s, order
            return order
        finally:
            del self._making[coin]

    async def _read(self, coin: str) -> Order:
        now_ms = self._clock.now_ms()
        async with acquired(self._pool) as connection:
            known = await connection.fetchrow(
                "SELECT coin_key, first_share_time_ms FROM shares.coin WHERE coin = $1", coin
            )
            if known is None:
                return Order(coin_key=0, first_share_ms=0, made_ms=now_ms, entries=())
            rows = await connection.fetch(
                """
                SELECT account.account_id, account.account, coalesce(found.work, 0)::text AS work,
                    coalesce(found.worker_count, 0) AS worker_count
                FROM shares.account LEFT JOIN (
                    SELECT worker.account_id, sum(summed.work) AS work, count(*) AS worker_count FROM (
                        SELECT worker_id, sum(work) AS work FROM shares.tally
                        WHERE span_min = $2 AND bucket >= $3 GROUP BY worker_id
                    ) AS summed JOIN shares.worker USING (worker_id) WHERE summed.work > 0 GROUP BY worker.account_id
                ) AS found USING (account_id)
                WHERE account.coin_key = $1
                ORDER BY coalesce(found.work, 0) DESC, account.account
                """,
                known["coin_key"],
                int(self._window.span),
                self._window.start_bucket(now_ms),
            )
        entries = [
            Ranked(
                work=int(row["work"]),
                account=row["account"],
                account_id=row["account_id"],
                worker_count=row["worker_count"],
            )
            for row in rows
        ]
        coin_key, first_share_ms = known
        return Order(coin_key=coin_key, first_share_ms=first_share_ms, made_ms=now_ms, entries=entries)


def _retrieve(task: asyncio.Task[Order]) -> None:
    """Take the failure of an order that perhaps nobody waits for; the next who asks has it made again."""
    if not task.cancelled():
        task.exception()
