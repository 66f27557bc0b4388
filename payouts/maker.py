"""Make batches: choose, reserve, have them built and signed, store, send; each step continues from what is stored."""

import logging
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from ledger import storage as ledger_storage
from ledger.domain import Phase
from nodes.errors import (
    RPC_INVALID_ADDRESS_OR_KEY,
    RPC_INVALID_PARAMETER,
    RPC_WALLET_ERROR,
    InsufficientFunds,
    NodeRpcError,
)
from payouts import storage
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
    fee_rate_within,
    judge,
    outputs_limit_after_split,
    outputs_limit_after_success,
    reservations,
    resolutions,
)
from payouts.errors import WaitCause, Waiting
from payouts.inspection import find_problem
from payouts.reconcile import Reconciler
from payouts.sender import TAKEN, Means, Sender
from payouts.thresholds import ThresholdSource
from runtime.logs import log_event
from runtime.telemetry.parents import LINKS_MAX, parent_of

_log = logging.getLogger("lodepool.payouts")

ROUND_BATCHES_MAX: Final = 10
_REFUSED_TO_BUILD: Final = frozenset({RPC_INVALID_ADDRESS_OR_KEY, RPC_INVALID_PARAMETER, RPC_WALLET_ERROR, -3})
"""A wallet's answers that mean the outputs themselves; −3 is an amount out of range. Others may pass by themselves."""


class Maker:
    """Makes one coin's batches.

    Args:
        means: What the payer works with.
        sender: Sends and stops batches.
        reconciler: Knows what the wallet has sent.
        thresholds: Knows the accounts' own thresholds.
        new_id: Makes ids of batches and payments.
    """

    def __init__(
        self,
        means: Means,
        sender: Sender,
        *,
        reconciler: Reconciler,
        thresholds: ThresholdSource,
        new_id: Callable[[], UUID],
    ) -> None:
        self._means = means
        self._sender = sender
        self._reconciler = reconciler
        self._thresholds = thresholds
        self._new_id = new_id
        self._fresh: set[UUID] = set()

    def begin_term(self) -> None:
        """Forget which batches were reserved and not yet built: another payer may have gone on since."""
        self._fresh.clear()

    async def pay(self) -> str:
        """Carry the unsent batch on, then make and send new ones; return why no new one is made."""
        for _ in range(ROUND_BATCHES_MAX):
            batch = await storage.unsent_batch(self._means.conn, self._means.coin.coin_id)
            if batch is None:
                batch = await self._reserve()
            if batch is None:
                return ""
            if batch.status is BatchStatus.RESERVED:
                with self._means.telemetry.span("payouts.sign", batch.trace_parent):
                    await self._sign(batch)
                batch = await storage.unsent_batch(self._means.conn, self._means.coin.coin_id)
            if batch is not None and batch.status is BatchStatus.SIGNED:
                with self._means.telemetry.span("payouts.send", batch.trace_parent):
                    await self._send(batch)
        return ""

    async def _reserve(self) -> Batch | None:
        """Choose, and commit the intent with its reservations before anything is asked of the wallet (P1)."""
        settings = self._means.settings
        row = await storage.payer_row(self._means.conn, self._means.coin.coin_id)
        await self._refuse_while_stopped(row)
        choice = await choose(
            self._means.conn,
            coin=self._means.coin,
            settings=settings,
            outputs_max=min(settings.outputs_max, row.outputs_limit or settings.outputs_max),
            thresholds=self._thresholds,
            wallet=self._means.wallet,
        )
        await self._note_isolated(choice)
        if not choice.due:
            return None
        await self._refuse_unknown_sends()
        items = [
            Item(payout_id=self._new_id(), account=entry.account, amount_atomic=entry.amount_atomic)
            for entry in choice.due
        ]
        policy = _policy(settings)
        await self._fee_rate(policy)
        await self._check_funds(sum(item.amount_atomic for item in items), policy, is_fresh=True)
        batch_id = self._new_id()
        await self._means.checkpoint(Arrow.CHOSEN)
        with self._means.telemetry.span("payouts.reserve", links=await self._paid_by(items)) as span:
            await self._store_reserved(batch_id, items, policy, trace_parent=parent_of(span))
        self._fresh.add(batch_id)
        self._means.metrics.batches_reserved += 1
        self._means.log(logging.INFO, "payout batch reserved", batch_id, payouts=len(items))
        await self._means.checkpoint(Arrow.RESERVED)
        return await storage.get_batch(self._means.conn, batch_id)

    async def _paid_by(self, items: Sequence[Item]) -> Sequence[str]:
        """Return the traces of the newest blocks whose credits the items pay; none where nobody follows traces."""
        if not self._means.telemetry.is_tracing:
            return ()
        coin_id, accounts = self._means.coin.coin_id, [item.account for item in items]
        return await ledger_storage.maturity_traces(self._means.conn, coin_id, accounts, limit=LINKS_MAX)

    async def _store_reserved(
        self, batch_id: UUID, items: Sequence[Item], policy: FeePolicy, *, trace_parent: str
    ) -> None:
        async with self._means.held().transaction():
            if (await storage.payer_row(self._means.conn, self._means.coin.coin_id, for_share=True)).is_held:
                raise Waiting("payouts were held meanwhile", cause=WaitCause.HELD)
            if not self._means.settings.is_enabled:
                raise Waiting("payouts were switched off meanwhile", cause=WaitCause.SWITCHED_OFF)
            await storage.insert_batch(
                self._means.conn,
                batch_id=batch_id,
                coin_id=self._means.coin.coin_id,
                items=items,
                policy=policy,
                now_ms=self._means.clock.now_ms(),
                trace_parent=trace_parent,
            )
            await ledger_storage.apply(self._means.conn, reservations(batch_id, self._means.coin.coin_id, items))
            await self._means.checkpoint(Arrow.RESERVING)

    async def _refuse_unknown_sends(self) -> None:
        """Ask the wallet what was sent, and pay nobody while it knows of a payment that the books do not (P2)."""
        await self._reconciler.look(self._means.held())
        await self._reconciler.refuse_unknown(self._means.held())

    async def _refuse_while_stopped(self, row: storage.PayerRow) -> None:
        await self._reconciler.refuse_unknown(self._means.held())
        if row.is_held:
            raise Waiting(f"payouts are held by the operator: {row.hold_reason}", cause=WaitCause.HELD)
        if not self._means.settings.is_enabled:
            raise Waiting("payouts are switched off in the configuration", cause=WaitCause.SWITCHED_OFF)
        in_review = await storage.review_batch(self._means.conn, self._means.coin.coin_id)
        if in_review is not None:
            raise Waiting(
                f"batch {in_review.batch_id} is in review: {in_review.reason}",
                cause=WaitCause.IN_REVIEW,
                is_alarm=True,
            )

    async def _note_isolated(self, choice: Choice) -> None:
        """Keep those that cannot be paid apart, and say so once (P6)."""
        coin_id = self._means.coin.coin_id
        async with self._means.held().transaction():
            await storage.clear_isolated(self._means.conn, coin_id, [entry.account for entry in choice.due])
            found = [storage.Isolated(account=account, reason=reason) for account, reason in choice.isolated]
            news = await storage.set_isolated(self._means.conn, coin_id, found, now_ms=self._means.clock.now_ms())
        self._means.metrics.accounts_isolated += len(news)
        for entry in news:
            log_event(_log, logging.ERROR, "account isolated", coin=coin_id, account=entry.account, reason=entry.reason)

    async def _fee_rate(self, policy: FeePolicy) -> int:
        estimate = await self._means.wallet.fee_rate_sat_per_kvb(target_blocks=self._means.settings.fee_target_blocks)
        rate = fee_rate_within(estimate, fallback=self._means.settings.fee_rate_sat_per_kvb, policy=policy)
        if rate is None:
            asked = self._means.settings.fee_rate_sat_per_kvb if estimate is None else estimate
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
        available = await self._means.wallet.balance_atomic()
        if available < wanted and not is_fresh:
            await self._means.wallet.release_all()
            available = await self._means.wallet.balance_atomic()
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
        items = await storage.items_of(self._means.conn, batch.batch_id)
        is_fresh = batch.batch_id in self._fresh
        try:
            rate = await self._fee_rate(batch.fee_policy)
            await self._check_funds(batch.amount_atomic, batch.fee_policy, is_fresh=is_fresh)
        except Waiting as waiting:
            if batch.fee_policy == _policy(self._means.settings):
                raise
            await self._give_up(batch, items, reason=f"the fee limits have changed since: {waiting.reason}")
            return
        await self._means.checkpoint(Arrow.BUILDING)
        await self._means.held().check()
        self._fresh.discard(batch.batch_id)
        try:
            signed = await self._means.wallet.build(
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
                await self._sender.review(batch, BatchEvent.REFUSE, f"the wallet refuses to build it: {error.message}")
                return
            raise
        await self._means.checkpoint(Arrow.BUILT)
        weight_max = self._means.settings.weight_max
        if signed.weight > weight_max and batch.payout_count > 1:
            await self._means.wallet.release(signed.raw)
            reason = f"too heavy: {signed.weight} with {batch.payout_count} payments, at most {weight_max}"
            limit = outputs_limit_after_split(batch.payout_count)
            await self._give_up(batch, items, reason=reason, outputs_limit=limit)
            return
        problem = await find_problem(
            signed, batch, items, coin=self._means.coin, wallet=self._means.wallet, weight_max=weight_max
        )
        if problem:
            await self._means.wallet.release(signed.raw)
            await self._sender.review(batch, BatchEvent.REFUSE, problem)
            return
        limit = (await storage.payer_row(self._means.conn, self._means.coin.coin_id)).outputs_limit
        async with self._means.held().transaction():
            await storage.store_signed(self._means.conn, batch, signed, now_ms=self._means.clock.now_ms())
            if limit:
                grown = outputs_limit_after_success(limit, outputs_max=self._means.settings.outputs_max)
                await storage.set_outputs_limit(self._means.conn, self._means.coin.coin_id, grown)
            await self._means.checkpoint(Arrow.STORING)
        self._means.log(logging.INFO, "payout batch signed", batch.batch_id, txid=signed.txid_hex)
        await self._means.checkpoint(Arrow.STORED)

    async def _give_up(
        self, batch: Batch, items: Sequence[Item], *, reason: str, outputs_limit: int | None = None
    ) -> None:
        """Give a reserved batch up: its bytes were stored nowhere, and so never sent; the next one is made anew.

        Args:
            batch: The batch.
            items: Its items.
            reason: Kept with it.
            outputs_limit: How many outputs the next one may have (P7); None changes nothing.
        """
        conn = self._means.conn
        async with self._means.held().transaction():
            await storage.move(conn, batch, BatchEvent.SPLIT, now_ms=self._means.clock.now_ms(), reason=reason)
            await ledger_storage.apply(conn, resolutions(batch.batch_id, batch.coin, items, phase=Phase.VOID))
            if outputs_limit is not None:
                await storage.set_outputs_limit(conn, self._means.coin.coin_id, outputs_limit)
            await self._means.checkpoint(Arrow.VOIDING)
        self._means.metrics.batches_voided += 1
        self._means.log(logging.WARNING, "payout batch given up", batch.batch_id, reason=reason)
        await self._means.checkpoint(Arrow.VOIDED)

    async def _send(self, batch: Batch) -> None:
        """Hand the stored bytes to the node; the same bytes after every crash (P3)."""
        if not await self._sender.is_sound(batch, BatchEvent.REFUSE):
            return
        outcome_status, reason = await self._sender.broadcast(batch)
        if outcome_status in TAKEN:
            async with self._means.held().transaction():
                await storage.move(self._means.conn, batch, BatchEvent.TAKE, now_ms=self._means.clock.now_ms())
                await self._means.checkpoint(Arrow.MARKING)
            self._means.log(logging.INFO, "payout batch broadcast", batch.batch_id, txid=batch.txid_hex)
            await self._means.checkpoint(Arrow.MARKED)
            return
        sighting = await self._sender.sighting(batch)
        if judge(sighting, confirmations=self._means.settings.confirmations) in {Finding.WAIT, Finding.SETTLE}:
            async with self._means.held().transaction():
                await storage.move(self._means.conn, batch, BatchEvent.TAKE, now_ms=self._means.clock.now_ms())
            return
        await self._sender.review(batch, BatchEvent.REFUSE, f"the node does not take it ({outcome_status}): {reason}")


def _policy(settings: PayoutSettings) -> FeePolicy:
    return FeePolicy(
        rate_min_sat_per_kvb=settings.fee_rate_min_sat_per_kvb,
        rate_max_sat_per_kvb=settings.fee_rate_max_sat_per_kvb,
        fee_atomic_max=settings.fee_atomic_max,
    )
