"""Pay: one round after another, each continuing from what is stored.

A round follows what was sent, then carries the one unsent batch on, and makes the next one when there is none. Between
two effects it calls `checkpoint` with the arrow's name: tests crash there, production passes `no_checkpoint`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID, uuid4

from coins.coin import Coin
from ledger.errors import LedgerError
from nodes.errors import (
    NodeError,
)
from nodes.interface import BitcoinWallet
from payouts import notices, storage
from payouts.config import PayoutSettings
from payouts.errors import BatchMoved, TermOver, WaitCause, Waiting
from payouts.follower import Follower
from payouts.lock import HeldLock, try_lock
from payouts.maker import Maker
from payouts.metrics import PayoutMetrics
from payouts.reconcile import Reconciler
from payouts.sender import Checkpoint, Means, Sender, no_checkpoint
from payouts.thresholds import ThresholdSource
from runtime.clock import Clock, sleep_unless
from runtime.exclusive import Term
from runtime.live import Live
from runtime.logs import log_event
from runtime.postgres.fence import Fenced
from runtime.postgres.pool import Connection, Pool
from runtime.telemetry import Telemetry

_log = logging.getLogger("lodepool.payouts")

NODE_PATIENCE_MS: Final = 120_000
"""A node that fails for less than this is nobody's trouble."""


class Payer:
    """Pays one coin's accounts.

    Args:
        coin: Whose.
        live: What the operator decides; changes are in force at once, for what is decided after them.
        pool: The database with the schemas `ledger` and `payouts`.
        wallet: Pays.
        thresholds: Knows the accounts' own thresholds.
        clock: The time.
        checkpoint: Called at each arrow.
        new_id: Makes ids of batches and payments.
        metrics: Counts.
        telemetry: For traces; None makes none.
    """

    def __init__(
        self,
        *,
        coin: Coin,
        live: Live[PayoutSettings],
        pool: Pool,
        wallet: BitcoinWallet,
        thresholds: ThresholdSource,
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
        new_id: Callable[[], UUID] = uuid4,
        metrics: PayoutMetrics | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._coin = coin
        self._live = live
        self._pool = pool
        self._clock = clock
        self.metrics = metrics or PayoutMetrics()
        self._lock: HeldLock | None = None
        means = Means(
            coin=coin,
            live=live,
            wallet=wallet,
            clock=clock,
            checkpoint=checkpoint,
            metrics=self.metrics,
            telemetry=telemetry or Telemetry.off(),
            held=self._held,
        )
        sender = Sender(means)
        self._reconciler = Reconciler(coin=coin, wallet=wallet, clock=clock, confirmations=live.value.confirmations)
        self._follower = Follower(means, sender)
        self._maker = Maker(means, sender, reconciler=self._reconciler, thresholds=thresholds, new_id=new_id)

    @property
    def is_active(self) -> bool:
        """Tell whether this payer holds the lock."""
        return self._lock is not None and not self._lock.lost.is_set()

    async def run(self, term: Term) -> None:
        """Pay until the term is over; wait for the lock first. Returns when another payer has begun a later term.

        Raises:
            PayerLockLost: When the lock's connection was lost; whatever was going on is cancelled at once.
            DatabaseUnavailable: When there is no connection to be had.
        """
        while term.is_current:
            async with self.hold(term) as is_held:
                if is_held:
                    log_event(_log, logging.INFO, "payer started", coin=self._coin.coin_id)
                    try:
                        await self._rounds_until_lost()
                    except (Fenced, TermOver) as error:
                        log_event(_log, logging.WARNING, "payer stood down", coin=self._coin.coin_id, reason=str(error))
                        return
            await self._clock.sleep(self._settings.lock_retry_s)

    @asynccontextmanager
    async def hold(self, term: Term) -> AsyncIterator[bool]:
        """Hold the payer's lock inside the block; False when another payer holds it."""
        async with try_lock(self._pool, self._coin.coin_id, term) as lock:
            if lock is None:
                yield False
                return
            await storage.ensure_payer(lock.connection, self._coin.coin_id)
            self._lock = lock
            self._maker.begin_term()
            self._reconciler.begin_term()
            try:
                yield True
            finally:
                self._lock = None

    async def run_round(self) -> str:
        """Do what can be done now; return why the payer waits, empty when it does not. Only inside `hold`."""
        lock = self._held()
        await lock.check()
        self.metrics.rounds += 1
        cause: WaitCause | None = None
        reason, is_alarm = "", False
        try:
            await self._reconciler.look_when_due(lock)
            await self._follower.follow()
            reason = await self._maker.pay()
        except Waiting as waiting:
            reason, cause, is_alarm = waiting.reason, waiting.cause, waiting.is_alarm
        except NodeError as error:
            reason, cause, is_alarm = str(error), WaitCause.NODE, True
        except BatchMoved as error:
            reason, cause = f"{error}; looked at again in the next round", WaitCause.MOVED
        except LedgerError as error:
            reason, cause, is_alarm = f"the ledger refuses: {error}", WaitCause.LEDGER, True
        self.metrics.wait_cause = cause
        await self._note_waiting(reason, is_alarm=is_alarm)
        return reason

    # --- the loop ---

    async def _rounds_until_lost(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_lost())
                await self._rounds()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _rounds(self) -> None:
        is_changed = asyncio.Event()
        leave = self._live.on_change(lambda _settings: is_changed.set())
        try:
            while True:
                is_changed.clear()
                await self.run_round()
                await sleep_unless(is_changed, self._clock, self._settings.interval_s)
        finally:
            leave()

    async def _until_lost(self) -> None:
        lock = self._held()
        await lock.lost.wait()
        self.metrics.locks_lost += 1
        log_event(_log, logging.ERROR, "payer lock lost", coin=self._coin.coin_id)
        await lock.check()

    async def _note_waiting(self, reason: str, *, is_alarm: bool) -> None:
        self.metrics.waits += bool(reason)
        async with self._held().transaction() as conn:
            is_news = await storage.set_wait_reason(conn, self._coin.coin_id, reason)
            await self._tell_alarm(conn, reason, is_alarm=is_alarm)
        if is_news and reason:
            level = logging.ERROR if is_alarm else logging.WARNING
            log_event(_log, level, "payouts wait", coin=self._coin.coin_id, reason=reason)
        elif is_news:
            log_event(_log, logging.INFO, "payouts go on", coin=self._coin.coin_id)

    async def _tell_alarm(self, conn: Connection, reason: str, *, is_alarm: bool) -> None:
        """Tell operators once why nobody is paid; a batch in review is told of by itself."""
        cause = self.metrics.wait_cause
        told = "" if cause is None or cause is WaitCause.IN_REVIEW or not is_alarm else cause.value
        patience_ms = NODE_PATIENCE_MS if cause is WaitCause.NODE else 0
        coin_id = self._coin.coin_id
        since_ms = await storage.set_alarm(conn, coin_id, told, patience_ms=patience_ms, now_ms=self._clock.now_ms())
        if since_ms is not None:
            await notices.tell_waiting(conn, coin=coin_id, cause=told, reason=reason, since_ms=since_ms)

    def _held(self) -> HeldLock:
        if self._lock is None:
            raise AssertionError("a payer works only while it holds the lock")
        return self._lock

    @property
    def _settings(self) -> PayoutSettings:
        """The settings in force now; who needs several that fit each other keeps the value."""
        return self._live.value
