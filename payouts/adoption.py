"""Let the operator say what a transaction of the wallet was that no batch knows: a payout of the pool, or not.

To adopt it makes the batch that the books have forgotten, whole, in one transaction, as if it had just been sent:
followed and settled like any other. Its ids follow from the transaction's, so that it is booked once.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid5

from coins.bitcoin.address import from_script
from coins.bitcoin.transaction import Transaction, parse_transaction
from coins.coin import Coin
from coins.errors import CoinError
from ledger import storage as ledger_storage
from ledger.domain import Phase
from ledger.errors import InsufficientBalance
from nodes.errors import NodeError
from nodes.interface import BitcoinWallet, SignedTransaction
from payouts import sends, storage
from payouts.config import PayoutSettings
from payouts.domain import Batch, BatchEvent, BatchStatus, FeePolicy, Item, reservations, resolutions
from payouts.reconcile import Scripts
from payouts.sends import Decision, UnknownSend
from runtime.clock import Clock
from runtime.logs import log_event
from runtime.postgres.pool import Connection, Pool, acquired
from runtime.postgres.transactions import transact
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable

_log = logging.getLogger("lodepool.payouts")

ADOPTED: Final = UUID("6b1d2f3a-8c57-4e0d-9a41-5f0e7c9b2d66")
"""Namespace of the ids of adopted batches."""


class Adopter:
    """Books or dismisses what the wallet has sent.

    Args:
        coin: Whose.
        settings: Fee limits of a batch.
        pool: The database.
        wallet: Knows what became of a transaction, and which outputs are its own.
        clock: The time.
    """

    def __init__(
        self, *, coin: Coin, settings: PayoutSettings, pool: Pool, wallet: BitcoinWallet, clock: Clock
    ) -> None:
        self._coin = coin
        self._settings = settings
        self._pool = pool
        self._wallet = wallet
        self._clock = clock
        self._scripts = Scripts(coin)

    async def adopt(self, txid_hex: str, *, request_id: str) -> UUID:
        """Make the batch of a transaction and return its id; the batch that knows it already where there is one.

        Raises:
            InvalidArgument: When the request id is missing or was used for something else.
            NotFound: When the payer has not noted such a transaction.
            FailedPrecondition: When it is no payout, can no longer confirm, or the balances do not cover it yet.
            Unavailable: When the wallet cannot be asked.
        """
        _require(request_id)
        async with acquired(self._pool) as conn:
            known = await _batch_of(conn, txid_hex)
            if known is not None:
                return known
            send = await self._noted(conn, txid_hex)
            owners = self._scripts.by_script(await sends.ledger_owners(conn, self._coin.coin_id))
        transaction = _parsed(send)
        items = await self._items(send, transaction, owners)

        async def book(conn: Connection) -> UUID:
            now_ms = self._clock.now_ms()
            await storage.is_new_request(
                conn, request_id=request_id, method="AdoptSend", subject=txid_hex, now_ms=now_ms
            )
            await sends.get_send(conn, self._coin.coin_id, txid_hex, for_update=True)
            known = await _batch_of(conn, txid_hex)
            if known is not None:
                return known
            return await self._book(conn, send, transaction, items, now_ms=now_ms)

        try:
            batch_id = await transact(self._pool, book)
        except InsufficientBalance as error:
            raise FailedPrecondition(
                f"the balances do not cover it: {error}. While the rewards service is catching up with the chain, wait "
                "and try again; nothing is paid meanwhile"
            ) from error
        log_event(_log, logging.WARNING, "wallet send adopted", batch_id=str(batch_id), txid=txid_hex)
        return batch_id

    async def ignore(self, txid_hex: str, *, reason: str, request_id: str) -> None:
        """Note that a transaction was no payout of the pool; the accounts that it pays are paid all the same.

        Raises:
            InvalidArgument: When the reason or the request id is missing, or the id was used for something else.
            NotFound: When the payer has not noted such a transaction.
            FailedPrecondition: When it was adopted.
        """
        _require(request_id)
        if not reason:
            raise InvalidArgument("reason", "say why; it is kept with the transaction")

        async def note(conn: Connection) -> bool:
            now_ms = self._clock.now_ms()
            if not await storage.is_new_request(
                conn, request_id=request_id, method="IgnoreSend", subject=txid_hex, now_ms=now_ms
            ):
                return False
            send = await self._noted(conn, txid_hex, for_update=True)
            if send.decision is Decision.ADOPTED:
                raise FailedPrecondition(f"{txid_hex} was adopted; its batch is booked")
            await sends.decide(conn, self._coin.coin_id, txid_hex, Decision.IGNORED, reason=reason, now_ms=now_ms)
            return True

        if await transact(self._pool, note):
            log_event(_log, logging.WARNING, "wallet send ignored", txid=txid_hex, reason=reason)

    # --- parts ---

    async def _noted(self, conn: Connection, txid_hex: str, *, for_update: bool = False) -> UnknownSend:
        send = await sends.get_send(conn, self._coin.coin_id, txid_hex, for_update=for_update)
        if send is None:
            raise NotFound(f"{txid_hex} is not among the wallet's sends that no batch knows")
        return send

    async def _items(self, send: UnknownSend, transaction: Transaction, owners: dict[bytes, str]) -> list[Item]:
        """Return whom the transaction pays: every output that is not the wallet's own.

        Raises:
            FailedPrecondition: When that cannot be one of our batches.
            Unavailable: When the wallet cannot be asked.
        """
        batch_id = _adopted_id(send.txid_hex)
        items: list[Item] = []
        try:
            seen = await self._wallet.transaction(send.txid_hex)
            if seen is not None and seen.confirmations < 0:
                raise FailedPrecondition("the chain has spent its inputs in another transaction: it pays nobody")
            for output in transaction.outputs:
                address = from_script(self._coin, output.script)
                if address is None:
                    raise FailedPrecondition(
                        f"it is no payout: it pays the script {output.script.hex()}, which has no address"
                    )
                account = owners.get(output.script, address.text)
                if output.script not in owners and (await self._wallet.address_info(address.text)).is_mine:
                    continue
                items.append(
                    Item(payout_id=uuid5(batch_id, account), account=account, amount_atomic=output.amount_atomic)
                )
        except NodeError as error:
            raise Unavailable(f"the wallet cannot be asked about it: {error}") from error
        if not items or not send.fee_atomic:
            raise FailedPrecondition("it is no payout: it pays nobody, or was not sent by the wallet alone")
        if len({item.account for item in items}) < len(items):
            raise FailedPrecondition("it is no payout: it pays one account twice")
        return items

    async def _book(
        self, conn: Connection, send: UnknownSend, transaction: Transaction, items: Sequence[Item], *, now_ms: int
    ) -> UUID:
        coin_id = self._coin.coin_id
        await conn.execute("SELECT FROM payouts.payer WHERE coin = $1 FOR UPDATE", coin_id)
        batch = await self._make_room(conn, send, items, now_ms=now_ms)
        if batch is None:
            batch_id = _adopted_id(send.txid_hex)
            policy = self._policy(send, transaction)
            await storage.insert_batch(
                conn, batch_id=batch_id, coin_id=coin_id, items=items, policy=policy, now_ms=now_ms
            )
            await ledger_storage.apply(conn, reservations(batch_id, coin_id, items))
            batch = await storage.get_batch(conn, batch_id)
            assert batch is not None  # made above, in this transaction
        signed = SignedTransaction(
            raw=send.raw,
            txid_hex=send.txid_hex,
            fee_atomic=send.fee_atomic,
            weight=transaction.weight,
            outputs=tuple((item.account, item.amount_atomic) for item in items),
        )
        await storage.store_signed(conn, batch, signed, now_ms=now_ms)
        stored = await storage.get_batch(conn, batch.batch_id)
        assert stored is not None  # stored above, in this transaction
        await storage.move(conn, stored, BatchEvent.TAKE, now_ms=now_ms)
        await storage.note_sent(conn, batch.batch_id, now_ms=now_ms)
        await sends.decide(conn, coin_id, send.txid_hex, Decision.ADOPTED, reason="", now_ms=now_ms)
        return batch.batch_id

    async def _make_room(
        self, conn: Connection, send: UnknownSend, items: Sequence[Item], *, now_ms: int
    ) -> Batch | None:
        """Return the reserved batch that this transaction carried out; give up one that it did not.

        A backup may be of the moment between a batch's reservation and its signature. Nothing was asked of a node with
        a batch that is reserved, as far as this database knows, so it can be given up: the payer makes a new one.
        """
        unsent = await storage.unsent_batch(conn, self._coin.coin_id)
        if unsent is None:
            return None
        if unsent.status is BatchStatus.SIGNED:
            raise FailedPrecondition(f"batch {unsent.batch_id} is about to be sent; try again in a minute")
        reserved = await storage.items_of(conn, unsent.batch_id)
        is_within = send.fee_atomic <= unsent.fee_policy.fee_atomic_max
        if is_within and _payments(reserved) == _payments(items):
            return unsent
        reason = f"made room for {send.txid_hex}, which the wallet had sent"
        await storage.move(conn, unsent, BatchEvent.SPLIT, now_ms=now_ms, reason=reason)
        await ledger_storage.apply(conn, resolutions(unsent.batch_id, unsent.coin, reserved, phase=Phase.VOID))
        return None

    def _policy(self, send: UnknownSend, transaction: Transaction) -> FeePolicy:
        """Return the limits in force, widened to what the transaction has cost already."""
        rate = max(1, send.fee_atomic * 1000 // -(-transaction.weight // 4))
        settings = self._settings
        return FeePolicy(
            rate_min_sat_per_kvb=min(settings.fee_rate_min_sat_per_kvb, rate),
            rate_max_sat_per_kvb=max(settings.fee_rate_max_sat_per_kvb, rate),
            fee_atomic_max=max(settings.fee_atomic_max, send.fee_atomic),
        )


def _adopted_id(txid_hex: str) -> UUID:
    return uuid5(ADOPTED, txid_hex)


def _payments(items: Sequence[Item]) -> Counter[tuple[str, int]]:
    return Counter((item.account, item.amount_atomic) for item in items)


def _parsed(send: UnknownSend) -> Transaction:
    try:
        return parse_transaction(send.raw)
    except CoinError as error:
        raise FailedPrecondition(f"it is no payout: {error}") from error


async def _batch_of(conn: Connection, txid_hex: str) -> UUID | None:
    batch_id: UUID | None = await conn.fetchval("SELECT batch_id FROM payouts.batch WHERE txid_hex = $1", txid_hex)
    return batch_id


def _require(request_id: str) -> None:
    if not request_id:
        raise InvalidArgument("request_id", "must not be empty")
