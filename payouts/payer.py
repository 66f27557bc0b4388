"""Pay: one round after another, each continuing from what is stored.

A round follows what was sent, then carries the one unsent batch on, and makes the next one when there is none. Between
two effects it calls `checkpoint` with the arrow's name: tests crash there, production passes `no_checkpoint`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID, uuid4

from coins.coin import Coin
from ledger import storage as ledger_storage
from ledger.domain import Phase
from ledger.errors import LedgerError
from nodes.errors import (
    RPC_INVALID_ADDRESS_OR_KEY,
    RPC_INVALID_PARAMETER,
    RPC_WALLET_ERROR,
    InsufficientFunds,
    NodeError,
    NodeRpcError,
)
from nodes.interface import BitcoinWallet, BroadcastStatus
from payouts import notices, storage
from payouts.candidates import Choice, choose
from payouts.config import PayoutSettings
from payouts.domain import (
    Arrow,
    Batch,
    BatchEvent,
    BatchStatus,
    FeePolicy,
    Finding,
    Item,
    Sighting,
    fee_rate_within,
    judge,
    outputs_limit_after_split,
    outputs_limit_after_success,
    reservations,
    resolutions,
    settlement,
)
from payouts.errors import BatchMoved, TermOver, WaitCause, Waiting
from payouts.inspection import find_problem
from payouts.lock import HeldLock, try_lock
from payouts.metrics import PayoutMetrics
from payouts.reconcile import Reconciler
from payouts.thresholds import ThresholdSource
from payouts.transaction import compare
from runtime.clock import Clock, sleep_unless
from runtime.exclusive import Term
from runtime.live import Live
from runtime.logs import log_event
from runtime.postgres.fence import Fenced
from runtime.postgres.pool import Connection, Pool
from runtime.telemetry import Telemetry
from runtime.telemetry.parents import LINKS_MAX, parent_of

_log = logging.getLogger("lodepool.payouts")

ROUND_BATCHES_MAX: Final = 10
_REFUSED_TO_BUILD: Final = frozenset({RPC_INVALID_ADDRESS_OR_KEY, RPC_INVALID_PARAMETER, RPC_WALLET_ERROR, -3})
"""A wallet's answers that mean the outputs themselves; −3 is an amount out of range. Others may pass by themselves."""

NODE_PATIENCE_MS: Final = 120_000
"""A node that fails for less than this is nobody's trouble."""

Checkpoint = Callable[[Arrow], Awaitable[None]]


async def no_checkpoint(_arrow: Arrow) -> None:
    """Do nothing between two effects."""


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
        self._telemetry = telemetry or Telemetry.off()
        self._coin = coin
        self._live = live
        self._pool = pool
        self._wallet = wallet
        self._thresholds = thresholds
        self._clock = clock
        self._checkpoint = checkpoint
        self._new_id = new_id
        self.metrics = metrics or PayoutMetrics()
        self._lock: HeldLock | None = None
        self._fresh: set[UUID] = set()
        self._reconciler = Reconciler(coin=coin, wallet=wallet, clock=clock, confirmations=live.value.confirmations)

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
            self._fresh.clear()
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
            await self._follow()
            reason = await self._pay()
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

    @property
    def _conn(self) -> Connection:
        return self._held().connection

    # --- making and sending batches ---

    async def _pay(self) -> str:
        """Carry the unsent batch on, then make and send new ones; return why no new one is made."""
        for _ in range(ROUND_BATCHES_MAX):
            batch = await storage.unsent_batch(self._conn, self._coin.coin_id)
            if batch is None:
                batch = await self._reserve()
            if batch is None:
                return ""
            if batch.status is BatchStatus.RESERVED:
                with self._telemetry.span("payouts.sign", batch.trace_parent):
                    await self._sign(batch)
                batch = await storage.unsent_batch(self._conn, self._coin.coin_id)
            if batch is not None and batch.status is BatchStatus.SIGNED:
                with self._telemetry.span("payouts.send", batch.trace_parent):
                    await self._send(batch)
        return ""

    async def _reserve(self) -> Batch | None:
        """Choose, and commit the intent with its reservations before anything is asked of the wallet (P1)."""
        settings = self._settings
        row = await storage.payer_row(self._conn, self._coin.coin_id)
        await self._refuse_while_stopped(row)
        choice = await choose(
            self._conn,
            coin=self._coin,
            settings=settings,
            outputs_max=min(settings.outputs_max, row.outputs_limit or settings.outputs_max),
            thresholds=self._thresholds,
            wallet=self._wallet,
        )
        await self._note_isolated(choice)
        if not choice.due:
            return None
        await self._refuse_unknown_sends()
        items = [
            Item(payout_id=self._new_id(), account=entry.account, amount_atomic=entry.amount_atomic)
            for entry in choice.due
        ]
        policy = FeePolicy(
            rate_min_sat_per_kvb=settings.fee_rate_min_sat_per_kvb,
            rate_max_sat_per_kvb=settings.fee_rate_max_sat_per_kvb,
            fee_atomic_max=settings.fee_atomic_max,
        )
        await self._fee_rate(policy)
        await self._check_funds(sum(item.amount_atomic for item in items), policy, is_fresh=True)
        batch_id = self._new_id()
        await self._checkpoint(Arrow.CHOSEN)
        with self._telemetry.span("payouts.reserve", links=await self._paid_by(items)) as span:
            await self._store_reserved(batch_id, items, policy, trace_parent=parent_of(span))
        self._fresh.add(batch_id)
        self.metrics.batches_reserved += 1
        self._log(logging.INFO, "payout batch reserved", batch_id, payouts=len(items))
        await self._checkpoint(Arrow.RESERVED)
        return await storage.get_batch(self._conn, batch_id)

    async def _paid_by(self, items: Sequence[Item]) -> Sequence[str]:
        """Return the traces of the newest blocks whose credits the items pay; none where nobody follows traces."""
        if not self._telemetry.is_tracing:
            return ()
        accounts = [item.account for item in items]
        return await ledger_storage.maturity_traces(self._conn, self._coin.coin_id, accounts, limit=LINKS_MAX)

    async def _store_reserved(
        self, batch_id: UUID, items: Sequence[Item], policy: FeePolicy, *, trace_parent: str
    ) -> None:
        async with self._held().transaction():
            if (await storage.payer_row(self._conn, self._coin.coin_id, for_share=True)).is_held:
                raise Waiting("payouts were held meanwhile", cause=WaitCause.HELD)
            if not self._settings.is_enabled:
                raise Waiting("payouts were switched off meanwhile", cause=WaitCause.SWITCHED_OFF)
            await storage.insert_batch(
                self._conn,
                batch_id=batch_id,
                coin_id=self._coin.coin_id,
                items=items,
                policy=policy,
                now_ms=self._clock.now_ms(),
                trace_parent=trace_parent,
            )
            await ledger_storage.apply(self._conn, reservations(batch_id, self._coin.coin_id, items))
            await self._checkpoint(Arrow.RESERVING)

    async def _refuse_unknown_sends(self) -> None:
        """Ask the wallet what was sent, and pay nobody while it knows of a payment that the books do not (P2)."""
        await self._reconciler.look(self._held())
        await self._reconciler.refuse_unknown(self._held())

    async def _refuse_while_stopped(self, row: storage.PayerRow) -> None:
        await self._reconciler.refuse_unknown(self._held())
        if row.is_held:
            raise Waiting(f"payouts are held by the operator: {row.hold_reason}", cause=WaitCause.HELD)
        if not self._settings.is_enabled:
            raise Waiting("payouts are switched off in the configuration", cause=WaitCause.SWITCHED_OFF)
        in_review = await storage.review_batch(self._conn, self._coin.coin_id)
        if in_review is not None:
            raise Waiting(
                f"batch {in_review.batch_id} is in review: {in_review.reason}",
                cause=WaitCause.IN_REVIEW,
                is_alarm=True,
            )

    async def _note_isolated(self, choice: Choice) -> None:
        """Keep those that cannot be paid apart, and say so once (P6)."""
        coin_id = self._coin.coin_id
        async with self._held().transaction():
            await storage.clear_isolated(self._conn, coin_id, [entry.account for entry in choice.due])
            found = [storage.Isolated(account=account, reason=reason) for account, reason in choice.isolated]
            news = await storage.set_isolated(self._conn, coin_id, found, now_ms=self._clock.now_ms())
        self.metrics.accounts_isolated += len(news)
        for entry in news:
            log_event(_log, logging.ERROR, "account isolated", coin=coin_id, account=entry.account, reason=entry.reason)

    async def _fee_rate(self, policy: FeePolicy) -> int:
        estimate = await self._wallet.fee_rate_sat_per_kvb(target_blocks=self._settings.fee_target_blocks)
        rate = fee_rate_within(estimate, fallback=self._settings.fee_rate_sat_per_kvb, policy=policy)
        if rate is None:
            asked = self._settings.fee_rate_sat_per_kvb if estimate is None else estimate
            raise Waiting(
                f"a fee rate of {asked} sat/kvB is needed, the ceiling is {policy.rate_max_sat_per_kvb}",
                cause=WaitCause.FEE,
                is_alarm=True,
            )
        return rate

    async def _check_funds(self, amount_atomic: int, policy: FeePolicy, *, is_fresh: bool) -> None:
        """Hold unless the wallet can pay the batch and its fee ceiling (P8).

        A batch of an earlier payer may have been built without being stored; what that locked is freed first.
        """
        wanted = amount_atomic + policy.fee_atomic_max
        available = await self._wallet.balance_atomic()
        if available < wanted and not is_fresh:
            await self._wallet.release_all()
            available = await self._wallet.balance_atomic()
        if available < wanted:
            raise Waiting(
                f"the wallet can spend {available}, the batch and its fee ceiling need {wanted}",
                cause=WaitCause.FUNDS,
                is_alarm=True,
            )

    async def _sign(self, batch: Batch) -> None:
        """Build, judge and store; nothing is sent before it is stored (P2)."""
        if batch.batch_id not in self._fresh:
            await self._refuse_unknown_sends()
        items = await storage.items_of(self._conn, batch.batch_id)
        rate = await self._fee_rate(batch.fee_policy)
        await self._check_funds(batch.amount_atomic, batch.fee_policy, is_fresh=batch.batch_id in self._fresh)
        await self._checkpoint(Arrow.BUILDING)
        await self._held().check()
        self._fresh.discard(batch.batch_id)
        try:
            signed = await self._wallet.build(
                [(item.account, item.amount_atomic) for item in items], fee_rate_sat_per_kvb=rate
            )
        except InsufficientFunds as error:
            raise Waiting(
                f"the wallet has not enough to build batch {batch.batch_id}: {error}",
                cause=WaitCause.FUNDS,
                is_alarm=True,
            ) from error
        except NodeRpcError as error:
            if error.code in _REFUSED_TO_BUILD:
                await self._review(batch, BatchEvent.REFUSE, f"the wallet refuses to build it: {error.message}")
                return
            raise
        await self._checkpoint(Arrow.BUILT)
        if signed.weight > self._settings.weight_max and batch.payout_count > 1:
            await self._wallet.release(signed.raw)
            await self._split(batch, items, signed.weight)
            return
        problem = await find_problem(
            signed, batch, items, coin=self._coin, wallet=self._wallet, weight_max=self._settings.weight_max
        )
        if problem:
            await self._wallet.release(signed.raw)
            await self._review(batch, BatchEvent.REFUSE, problem)
            return
        limit = (await storage.payer_row(self._conn, self._coin.coin_id)).outputs_limit
        async with self._held().transaction():
            await storage.store_signed(self._conn, batch, signed, now_ms=self._clock.now_ms())
            if limit:
                grown = outputs_limit_after_success(limit, outputs_max=self._settings.outputs_max)
                await storage.set_outputs_limit(self._conn, self._coin.coin_id, grown)
            await self._checkpoint(Arrow.STORING)
        self._log(logging.INFO, "payout batch signed", batch.batch_id, txid=signed.txid_hex)
        await self._checkpoint(Arrow.STORED)

    async def _split(self, batch: Batch, items: list[Item], weight: int) -> None:
        """Give a batch up that is too heavy and was stored nowhere; the next one has half as many outputs (P7)."""
        reason = f"too heavy: {weight} with {batch.payout_count} payments, at most {self._settings.weight_max}"
        async with self._held().transaction():
            await storage.move(self._conn, batch, BatchEvent.SPLIT, now_ms=self._clock.now_ms(), reason=reason)
            void = resolutions(batch.batch_id, batch.coin, items, phase=Phase.VOID)
            await ledger_storage.apply(self._conn, void)
            limit = outputs_limit_after_split(batch.payout_count)
            await storage.set_outputs_limit(self._conn, self._coin.coin_id, limit)
            await self._checkpoint(Arrow.VOIDING)
        self.metrics.batches_voided += 1
        self._log(logging.WARNING, "payout batch split", batch.batch_id, reason=reason)
        await self._checkpoint(Arrow.VOIDED)

    async def _send(self, batch: Batch) -> None:
        """Hand the stored bytes to the node; the same bytes after every crash (P3)."""
        if not await self._is_sound(batch, BatchEvent.REFUSE):
            return
        outcome_status, reason = await self._broadcast(batch)
        if outcome_status in {BroadcastStatus.ACCEPTED, BroadcastStatus.ALREADY_KNOWN}:
            async with self._held().transaction():
                await storage.move(self._conn, batch, BatchEvent.TAKE, now_ms=self._clock.now_ms())
                await self._checkpoint(Arrow.MARKING)
            self._log(logging.INFO, "payout batch broadcast", batch.batch_id, txid=batch.txid_hex)
            await self._checkpoint(Arrow.MARKED)
            return
        sighting = await self._sighting(batch)
        if judge(sighting, confirmations=self._settings.confirmations) in {Finding.WAIT, Finding.SETTLE}:
            async with self._held().transaction():
                await storage.move(self._conn, batch, BatchEvent.TAKE, now_ms=self._clock.now_ms())
            return
        await self._review(batch, BatchEvent.REFUSE, f"the node does not take it ({outcome_status}): {reason}")

    async def _broadcast(self, batch: Batch) -> tuple[BroadcastStatus, str]:
        raw = batch.raw
        if raw is None:
            raise AssertionError("only signed batches are sent")
        await self._checkpoint(Arrow.SENDING)
        await self._held().check()
        async with self._held().transaction():
            await storage.note_sent(self._conn, batch.batch_id, now_ms=self._clock.now_ms())
        self._held().check_term()
        self.metrics.batches_sent += 1
        outcome = await self._wallet.broadcast(raw)
        await self._checkpoint(Arrow.SENT)
        return outcome.status, outcome.reason

    async def _is_sound(self, batch: Batch, event: BatchEvent) -> bool:
        """Tell whether the stored bytes still pay the stored items (P5); else the batch goes to review."""
        items = await storage.items_of(self._conn, batch.batch_id)
        found = compare(self._coin, raw=batch.raw or b"", txid_hex=batch.txid_hex, items=items).differences
        if found:
            reason = "the stored transaction does not pay the stored items: " + "; ".join(map(str, found))
            await self._review(batch, event, reason)
        return not found

    # --- following what was sent ---

    async def _follow(self) -> None:
        for batch in await storage.watched_batches(self._conn, self._coin.coin_id):
            sighting = await self._sighting(batch)
            finding = judge(sighting, confirmations=self._settings.confirmations)
            if sighting is not None and sighting.confirmations != batch.confirmations:
                with self._telemetry.span("payouts.confirm", batch.trace_parent):
                    async with self._held().transaction():
                        await storage.note_confirmations(self._conn, batch.batch_id, sighting.confirmations)
            if batch.status is BatchStatus.REVIEW:
                await self._follow_in_review(batch, finding)
            else:
                await self._follow_sent(batch, finding, sighting)

    async def _sighting(self, batch: Batch) -> Sighting | None:
        seen = await self._wallet.transaction(batch.txid_hex)
        return None if seen is None else Sighting(confirmations=seen.confirmations, is_in_mempool=seen.is_in_mempool)

    async def _follow_in_review(self, batch: Batch, finding: Finding) -> None:
        """Take a batch out of review that the chain has answered for: its transaction is in a block or on its way."""
        if finding not in {Finding.WAIT, Finding.SETTLE}:
            return
        items = await storage.items_of(self._conn, batch.batch_id)
        if compare(self._coin, raw=batch.raw or b"", txid_hex=batch.txid_hex, items=items).differences:
            return
        async with self._held().transaction():
            await storage.move(self._conn, batch, BatchEvent.SEE, now_ms=self._clock.now_ms())
        self._log(logging.WARNING, "payout batch seen again", batch.batch_id, txid=batch.txid_hex)

    async def _follow_sent(self, batch: Batch, finding: Finding, sighting: Sighting | None) -> None:
        match finding:
            case Finding.SETTLE if sighting is not None:
                with self._telemetry.span("payouts.settle", batch.trace_parent):
                    await self._settle(batch, sighting.confirmations)
            case Finding.CONFLICT:
                await self._review(batch, BatchEvent.DROP, "the chain has spent its inputs in another transaction")
            case Finding.RESEND:
                await self._send_again(batch)
            case _:
                # Sent by another process whose clock was ahead, it counts as idle: to send again is harmless.
                is_recent = 0 <= self._clock.now_ms() - batch.send_time_ms < self._settings.rebroadcast_s * 1000
                if sighting is not None and not sighting.confirmations and not is_recent:
                    await self._broadcast(batch)

    async def _send_again(self, batch: Batch) -> None:
        """Hand bytes to the node that has lost them; when it refuses, the batch returns to review (P10)."""
        if not await self._is_sound(batch, BatchEvent.DROP):
            return
        status, reason = await self._broadcast(batch)
        if status in {BroadcastStatus.ACCEPTED, BroadcastStatus.ALREADY_KNOWN}:
            self._log(logging.WARNING, "payout batch sent again", batch.batch_id, txid=batch.txid_hex)
            return
        await self._review(
            batch, BatchEvent.DROP, f"it dropped out, and the node does not take it ({status}): {reason}"
        )

    async def _settle(self, batch: Batch, confirmations: int) -> None:
        """Post the payments and the fee in the transaction that makes the batch confirmed."""
        if not await self._is_sound(batch, BatchEvent.DROP):
            return
        items = await storage.items_of(self._conn, batch.batch_id)
        await self._checkpoint(Arrow.SEEN)
        async with self._held().transaction():
            await storage.move(
                self._conn,
                batch,
                BatchEvent.SETTLE,
                now_ms=self._clock.now_ms(),
                confirmations=confirmations,
            )
            await ledger_storage.apply(self._conn, settlement(batch, items))
            await self._checkpoint(Arrow.SETTLING)
        self.metrics.batches_confirmed += 1
        self.metrics.payouts_confirmed += len(items)
        self.metrics.paid_atomic += batch.amount_atomic
        self._log(logging.INFO, "payout batch confirmed", batch.batch_id, payouts=len(items))
        await self._checkpoint(Arrow.SETTLED)

    async def _review(self, batch: Batch, event: BatchEvent, reason: str) -> None:
        """Stop a batch for the operator."""
        async with self._held().transaction():
            await storage.move(self._conn, batch, event, now_ms=self._clock.now_ms(), reason=reason)
            await self._checkpoint(Arrow.REVIEWING)
        self.metrics.batches_reviewed += 1
        self._log(logging.ERROR, "payout batch needs review", batch.batch_id, reason=reason)
        await self._checkpoint(Arrow.REVIEWED)

    def _log(self, level: int, event: str, batch_id: UUID, **fields: object) -> None:
        log_event(_log, level, event, coin=self._coin.coin_id, batch_id=str(batch_id), **fields)
