"""Hand stored bytes to a node, look for them on the chain, and stop what a person must look at.

Whoever makes batches and whoever follows them does this with a `Sender`, on the `Means` of one payer.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from coins.coin import Coin
from nodes.interface import BitcoinWallet, BroadcastStatus
from payouts import storage
from payouts.config import PayoutSettings
from payouts.domain import Arrow, Batch, BatchEvent, Sighting
from payouts.lock import HeldLock
from payouts.metrics import PayoutMetrics
from payouts.transaction import compare
from runtime.clock import Clock
from runtime.live import Live
from runtime.logs import log_event
from runtime.postgres.pool import Connection
from runtime.telemetry import Telemetry

_log = logging.getLogger("lodepool.payouts")

TAKEN = frozenset({BroadcastStatus.ACCEPTED, BroadcastStatus.ALREADY_KNOWN})
"""A node's answers after which it has the transaction."""

Checkpoint: TypeAlias = Callable[[Arrow], Awaitable[None]]
"""Called between two effects: tests crash there."""


async def no_checkpoint(_arrow: Arrow) -> None:
    """Do nothing between two effects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the parts of one payer work with.

    Attributes:
        coin: Whose payouts.
        live: What the operator decides.
        wallet: Pays.
        clock: The time.
        checkpoint: Called at each arrow.
        metrics: Counts.
        telemetry: For traces.
        held: Returns the payer's lock; only while it is held.
    """

    coin: Coin
    live: Live[PayoutSettings]
    wallet: BitcoinWallet
    clock: Clock
    checkpoint: Checkpoint
    metrics: PayoutMetrics
    telemetry: Telemetry
    held: Callable[[], HeldLock]

    @property
    def settings(self) -> PayoutSettings:
        """The settings in force now; who needs several that fit each other keeps the value."""
        return self.live.value

    @property
    def conn(self) -> Connection:
        """The session that holds the lock."""
        return self.held().connection

    def log(self, level: int, event: str, batch_id: UUID, **fields: object) -> None:
        """Log what happened to a batch."""
        log_event(_log, level, event, coin=self.coin.coin_id, batch_id=str(batch_id), **fields)


class Sender:
    """Sends and stops batches.

    Args:
        means: What the payer works with.
    """

    def __init__(self, means: Means) -> None:
        self._means = means

    async def broadcast(self, batch: Batch) -> tuple[BroadcastStatus, str]:
        """Hand the stored bytes to the node; return its answer and its words."""
        raw = batch.raw
        if raw is None:
            raise AssertionError("only signed batches are sent")
        await self._means.checkpoint(Arrow.SENDING)
        await self._means.held().check()
        async with self._means.held().transaction():
            await storage.note_sent(self._means.conn, batch.batch_id, now_ms=self._means.clock.now_ms())
        self._means.held().check_term()
        self._means.metrics.batches_sent += 1
        outcome = await self._means.wallet.broadcast(raw)
        await self._means.checkpoint(Arrow.SENT)
        return outcome.status, outcome.reason

    async def is_sound(self, batch: Batch, event: BatchEvent) -> bool:
        """Tell whether the stored bytes still pay the stored items (P5); else the batch goes to review."""
        items = await storage.items_of(self._means.conn, batch.batch_id)
        found = compare(self._means.coin, raw=batch.raw or b"", txid_hex=batch.txid_hex, items=items).differences
        if found:
            reason = "the stored transaction does not pay the stored items: " + "; ".join(map(str, found))
            await self.review(batch, event, reason)
        return not found

    async def sighting(self, batch: Batch) -> Sighting | None:
        """Return what the wallet says of a batch's transaction; None when it does not know it."""
        seen = await self._means.wallet.transaction(batch.txid_hex)
        return None if seen is None else Sighting(confirmations=seen.confirmations, is_in_mempool=seen.is_in_mempool)

    async def review(self, batch: Batch, event: BatchEvent, reason: str) -> None:
        """Stop a batch for the operator."""
        async with self._means.held().transaction():
            await storage.move(self._means.conn, batch, event, now_ms=self._means.clock.now_ms(), reason=reason)
            await self._means.checkpoint(Arrow.REVIEWING)
        self._means.metrics.batches_reviewed += 1
        self._means.log(logging.ERROR, "payout batch needs review", batch.batch_id, reason=reason)
        await self._means.checkpoint(Arrow.REVIEWED)
