"""Accounts in the order of their work, kept for a moment: many readers and pages cost as much as one query."""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.clock import Clock
from runtime.postgres.pool import Pool, acquired
from shares.hashrate import HashrateWindow


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

    One that is older than `keep_s` is made anew; who asks meanwhile waits for the same one.

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
        self._lock = asyncio.Lock()

    async def order(self, coin: str) -> Order:
        """Return the coin's accounts in order."""
        async with self._lock:
            found = self._orders.get(coin)
            now_s = self._clock.monotonic_s()
            if found is None or now_s - found[0] >= self._keep_s:
                order = await self._read(coin)
                if not order.coin_key:
                    return order
                found = self._orders[coin] = (now_s, order)
            return found[1]

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
