"""Follow what was sent, to the block that is deep enough, back to the node that has lost it, or to a person (P10)."""

import logging

from ledger import storage as ledger_storage
from payouts import storage
from payouts.domain import Arrow, Batch, BatchEvent, BatchStatus, Finding, Sighting, judge, settlement
from payouts.sender import TAKEN, Means, Sender
from payouts.transaction import compare


class Follower:
    """Follows one coin's batches.

    Args:
        means: What the payer works with.
        sender: Sends and stops batches.
    """

    def __init__(self, means: Means, sender: Sender) -> None:
        self._means = means
        self._sender = sender

    async def follow(self) -> None:
        """Look at each batch whose transaction may be on its way, and do what the chain says."""
        for batch in await storage.watched_batches(self._means.conn, self._means.coin.coin_id):
            sighting = await self._sender.sighting(batch)
            finding = judge(sighting, confirmations=self._means.settings.confirmations)
            if sighting is not None and sighting.confirmations != batch.confirmations:
                with self._means.telemetry.span("payouts.confirm", batch.trace_parent):
                    async with self._means.held().transaction():
                        await storage.note_confirmations(self._means.conn, batch.batch_id, sighting.confirmations)
            if batch.status is BatchStatus.REVIEW:
                await self._follow_in_review(batch, finding)
            else:
                await self._follow_sent(batch, finding, sighting)

    async def _follow_in_review(self, batch: Batch, finding: Finding) -> None:
        """Take a batch out of review that the chain has answered for: its transaction is in a block or on its way."""
        if finding not in {Finding.WAIT, Finding.SETTLE}:
            return
        items = await storage.items_of(self._means.conn, batch.batch_id)
        if compare(self._means.coin, raw=batch.raw or b"", txid_hex=batch.txid_hex, items=items).differences:
            return
        async with self._means.held().transaction():
            await storage.move(self._means.conn, batch, BatchEvent.SEE, now_ms=self._means.clock.now_ms())
        self._means.log(logging.WARNING, "payout batch seen again", batch.batch_id, txid=batch.txid_hex)

    async def _follow_sent(self, batch: Batch, finding: Finding, sighting: Sighting | None) -> None:
        match finding:
            case Finding.SETTLE if sighting is not None:
                with self._means.telemetry.span("payouts.settle", batch.trace_parent):
                    await self._settle(batch, sighting.confirmations)
            case Finding.CONFLICT:
                reason = "the chain has spent its inputs in another transaction"
                await self._sender.review(batch, BatchEvent.DROP, reason)
            case Finding.RESEND:
                await self._send_again(batch)
            case _:
                # Sent by another process whose clock was ahead, it counts as idle: to send again is harmless.
                idle_ms = self._means.clock.now_ms() - batch.send_time_ms
                is_recent = 0 <= idle_ms < self._means.settings.rebroadcast_s * 1000
                if sighting is not None and not sighting.confirmations and not is_recent:
                    await self._sender.broadcast(batch)

    async def _send_again(self, batch: Batch) -> None:
        """Hand bytes to the node that has lost them; when it refuses, the batch returns to review (P10)."""
        if not await self._sender.is_sound(batch, BatchEvent.DROP):
            return
        status, reason = await self._sender.broadcast(batch)
        if status in TAKEN:
            self._means.log(logging.WARNING, "payout batch sent again", batch.batch_id, txid=batch.txid_hex)
            return
        await self._sender.review(
            batch, BatchEvent.DROP, f"it dropped out, and the node does not take it ({status}): {reason}"
        )

    async def _settle(self, batch: Batch, confirmations: int) -> None:
        """Post the payments and the fee in the transaction that makes the batch confirmed."""
        if not await self._sender.is_sound(batch, BatchEvent.DROP):
            return
        items = await storage.items_of(self._means.conn, batch.batch_id)
        await self._means.checkpoint(Arrow.SEEN)
        async with self._means.held().transaction():
            await storage.move(
                self._means.conn,
                batch,
                BatchEvent.SETTLE,
                now_ms=self._means.clock.now_ms(),
                confirmations=confirmations,
            )
            await ledger_storage.apply(self._means.conn, settlement(batch, items))
            await self._means.checkpoint(Arrow.SETTLING)
        self._means.metrics.batches_confirmed += 1
        self._means.metrics.payouts_confirmed += len(items)
        self._means.metrics.paid_atomic += batch.amount_atomic
        self._means.log(logging.INFO, "payout batch confirmed", batch.batch_id, payouts=len(items))
        await self._means.checkpoint(Arrow.SETTLED)
