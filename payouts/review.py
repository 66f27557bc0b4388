"""Let the operator give up a batch in review, once it is certain that its transaction can no longer confirm."""

import logging
from typing import Protocol, runtime_checkable
from uuid import UUID

from coins.bitcoin.transaction import parse_transaction
from coins.coin import Coin
from coins.errors import CoinError
from ledger import storage as ledger_storage
from ledger.domain import Phase
from nodes.errors import NodeError
from nodes.interface import BitcoinWallet, BroadcastStatus, ChainInfo
from payouts import storage
from payouts.config import PayoutSettings
from payouts.domain import Arrow, Batch, BatchEvent, BatchStatus, resolutions
from payouts.errors import BatchMoved
from payouts.sender import Checkpoint, no_checkpoint
from runtime.clock import Clock
from runtime.logs import log_event
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable

_log = logging.getLogger("lodepool.payouts")


@runtime_checkable
class ChainAware(Protocol):
    """A wallet whose node can tell how far it has come."""

    async def chain_info(self) -> ChainInfo:
        """Return the node's network and tip."""
        ...


class Reviewer:
    """Gives up batches for the operator.

    Args:
        coin: Whose.
        settings: How deep a conflict must lie.
        pool: The database.
        wallet: Knows what became of a transaction.
        clock: The time.
        checkpoint: Called at each arrow.
    """

    def __init__(
        self,
        *,
        coin: Coin,
        settings: PayoutSettings,
        pool: Pool,
        wallet: BitcoinWallet,
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._coin = coin
        self._settings = settings
        self._pool = pool
        self._wallet = wallet
        self._clock = clock
        self._checkpoint = checkpoint

    async def void(self, batch_id: UUID, *, reason: str, request_id: str) -> None:
        """Return a batch's reservations to the balances. Repeating a request does nothing.

        Raises:
            NotFound: When there is no such batch.
            InvalidArgument: When the reason or the request id is missing, or the id was used for something else.
            FailedPrecondition: When the batch is not in review, or its transaction may still confirm.
            Unavailable: When the wallet cannot be asked.
        """
        if not reason:
            raise InvalidArgument("reason", "say why; it is kept with the batch")
        if not request_id:
            raise InvalidArgument("request_id", "must not be empty")
        async with acquired(self._pool) as conn:
            batch = await storage.get_batch(conn, batch_id)
            if batch is None or batch.coin != self._coin.coin_id:
                raise NotFound(f"there is no batch {batch_id} of {self._coin.coin_id}")
            is_done = await conn.fetchval("SELECT true FROM payouts.request WHERE request_id = $1", request_id)
        if not is_done:
            await self._check_dead(batch)

        async def give_up(conn: Connection) -> bool:
            now_ms = self._clock.now_ms()
            if not await storage.is_new_request(
                conn, request_id=request_id, method="VoidBatch", subject=str(batch_id), now_ms=now_ms
            ):
                return False
            items = await storage.items_of(conn, batch_id)
            await storage.move(conn, batch, BatchEvent.VOID, now_ms=now_ms, reason=f"voided: {reason}")
            await ledger_storage.apply(conn, resolutions(batch_id, batch.coin, items, phase=Phase.VOID))
            await self._checkpoint(Arrow.VOIDING)
            return True

        try:
            is_voided = await transact(self._pool, give_up)
        except BatchMoved as error:
            raise FailedPrecondition(f"{error}; look at it again") from error
        if is_voided:
            log_event(_log, logging.WARNING, "payout batch voided", batch_id=str(batch_id), reason=reason)
            await self._checkpoint(Arrow.VOIDED)
            await self._release(batch)

    async def _check_dead(self, batch: Batch) -> None:
        if batch.status is not BatchStatus.REVIEW:
            raise FailedPrecondition(f"batch {batch.batch_id} is {batch.status}; only a batch in review can be voided")
        if batch.raw is None:
            return
        try:
            problem = await self._life(batch, batch.raw)
        except NodeError as error:
            raise Unavailable(f"whether the transaction is dead cannot be found out: {error}") from error
        if problem:
            raise FailedPrecondition(f"transaction {batch.txid_hex} may still confirm: {problem}")

    async def _life(self, batch: Batch, raw: bytes) -> str:
        """Return why the transaction may still confirm; empty when it cannot.

        Only one thing kills a signed transaction: an input spent by another transaction in the chain. Where the wallet
        cannot say so, the node is handed the bytes: should it take them, the batch is on its way and not dead. A node
        that has not the whole chain misses inputs that exist, so its word does not count; nor does it where the inputs
        are outputs of a transaction that is in no block yet.
        """
        if isinstance(self._wallet, ChainAware) and (await self._wallet.chain_info()).is_initial_download:
            return "the node is still downloading the chain and cannot tell"
        seen = await self._wallet.transaction(batch.txid_hex)
        if seen is not None and seen.confirmations < 0:
            return self._shallow(seen.confirmations)
        if seen is not None and seen.confirmations > 0:
            return f"it has {seen.confirmations} confirmations"
        if seen is not None and seen.is_in_mempool:
            return "it is in the mempool"
        outcome = await self._wallet.broadcast(raw)
        if outcome.status is BroadcastStatus.CONFLICT:
            if "mempool" in outcome.reason:
                return "another transaction in the mempool spends its inputs"
            return await self._parents_life(raw)
        if outcome.status is BroadcastStatus.REJECTED:
            return f"the node refuses it ({outcome.reason}), which others need not; spend one of its inputs otherwise"
        return "the node has taken it; the payer follows it"

    async def _parents_life(self, raw: bytes) -> str:
        """Return why inputs that the node misses may still come; empty when they cannot, for they were spent."""
        try:
            parents = {entry.txid[::-1].hex() for entry in parse_transaction(raw).inputs}
        except CoinError:
            return ""  # no node takes such bytes, whatever their inputs
        problems: list[str] = []
        for txid_hex in sorted(parents):
            parent = await self._wallet.transaction(txid_hex)
            if parent is None or parent.confirmations > 0:
                continue
            problem = f"it spends {txid_hex}, which is in no block"
            if parent.confirmations < 0:
                problem = self._shallow(parent.confirmations)
                if not problem:
                    return ""
            problems.append(problem)
        return "; ".join(problems)

    def _shallow(self, confirmations: int) -> str:
        """Return why a conflict does not count yet; empty when it lies deep enough."""
        depth = self._settings.confirmations
        return "" if -confirmations >= depth else f"what conflicts with it is {-confirmations} deep, {depth} are needed"

    async def _release(self, batch: Batch) -> None:
        """Unlock its inputs; when that fails they come free at the node's next start."""
        if batch.raw is None:
            return
        try:
            await self._wallet.release(batch.raw)
        except NodeError as error:
            log_event(_log, logging.WARNING, "inputs stayed locked", batch_id=str(batch.batch_id), reason=str(error))
