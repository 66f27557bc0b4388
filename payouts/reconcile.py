"""Compare what the wallet has sent with the batches; nobody is paid while it knows of a payment that we do not.

A database that was restored from a backup has forgotten what was paid since. The wallet has not. So the payer asks it
at the beginning of each term, every few minutes, and before each batch is made or signed; the cursor up to which it
has asked is restored with the batches. A send that no batch knows is noted, and stops payouts as soon as it pays an
account of the ledger. That is judged anew each time: the rewards service may be catching up, and an account come back
later than the payment. The operator's word ends it (payouts/adoption.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from coins.bitcoin.address import payee
from coins.bitcoin.transaction import TransactionOutput, parse_transaction
from coins.coin import Coin
from coins.errors import AddressError, CoinError
from nodes.interface import BitcoinWallet
from payouts import sends
from payouts.errors import WaitCause, Waiting
from payouts.lock import HeldLock
from payouts.sends import UnknownSend
from runtime.clock import Clock

RECONCILE_S: Final = 300.0
"""The wallet is asked at least this often while nothing is paid."""


class Scripts:
    """Knows the scripts of the ledger's owners.

    Args:
        coin: The coin.
    """

    def __init__(self, coin: Coin) -> None:
        self._coin = coin
        self._owners: dict[str, bytes] = {}

    def by_script(self, owners: Iterable[str]) -> dict[bytes, str]:
        """Return owners by script; those that are no address, such as the pool's own, are left out."""
        found = {}
        for owner in owners:
            if owner not in self._owners:
                try:
                    self._owners[owner] = payee(self._coin, owner).script
                except AddressError:
                    self._owners[owner] = b""
            if self._owners[owner]:
                found[self._owners[owner]] = owner
        return found


def outputs_of(raw: bytes) -> tuple[TransactionOutput, ...]:
    """Return a transaction's outputs; none for bytes that no payout of ours could have."""
    try:
        return parse_transaction(raw).outputs
    except CoinError:
        return ()


def paid_by(raw: bytes, owners: Mapping[bytes, str]) -> dict[str, int]:
    """Return what a transaction pays to whom, of these owners by script."""
    found: dict[str, int] = {}
    for output in outputs_of(raw):
        owner = owners.get(output.script)
        if owner is not None:
            found[owner] = found.get(owner, 0) + output.amount_atomic
    return found


def alarm(coin: Coin, send: UnknownSend) -> str:
    """Return the sentence that the operator reads."""
    return (
        f"the wallet has sent {send.txid_hex}, {coin.format_amount(send.amount_atomic)} to {send.account_count} "
        f"account{'s' if send.account_count > 1 else ''}, that the books do not know: was the database restored from a "
        f"backup? `lodepool payouts adopt {send.txid_hex}` books it, `lodepool payouts ignore {send.txid_hex} "
        "--reason …` says that it was not the pool's"
    )


class Reconciler:
    """Asks the wallet, for one payer.

    Args:
        coin: Whose payouts.
        wallet: Knows what was sent.
        clock: The time.
        confirmations: So deep must lie what conflicts with a send before the send counts as dead.
    """

    def __init__(self, *, coin: Coin, wallet: BitcoinWallet, clock: Clock, confirmations: int) -> None:
        self._confirmations = confirmations
        self._coin = coin
        self._wallet = wallet
        self._clock = clock
        self._scripts = Scripts(coin)
        self._looked_s: float | None = None

    def begin_term(self) -> None:
        """Forget when the wallet was asked: another payer may have paid since."""
        self._looked_s = None

    async def look_when_due(self, lock: HeldLock) -> list[str]:
        """Look when that is long ago; return the txids of sends that are new and pay accounts."""
        now_s = self._clock.monotonic_s()
        if self._looked_s is not None and now_s - self._looked_s < RECONCILE_S:
            return []
        return await self.look(lock)

    async def look(self, lock: HeldLock) -> list[str]:
        """Ask the wallet, note what is unknown, and judge it; return the txids of sends that have come to pay accounts.

        Raises:
            NodeError: When the wallet cannot be asked.
        """
        began_s = self._clock.monotonic_s()
        conn, coin_id = lock.connection, self._coin.coin_id
        told = await self._wallet.sends(since=await sends.read_cursor(conn, coin_id))
        new = [await self._read(txid) for txid in await sends.unknown_of(conn, coin_id, told.txids_hex)]
        async with lock.transaction():
            await sends.note_sends(conn, coin_id, [send for send in new if send is not None])
            if None not in new:
                await sends.store_cursor(conn, coin_id, told.cursor)
        alarmed = await self._judge(lock)
        self._looked_s = began_s
        return alarmed

    async def refuse_unknown(self, lock: HeldLock) -> None:
        """Refuse to pay while a send that pays an account waits for the operator's word.

        Raises:
            Waiting: With the sentence about the first.
        """
        waiting = [send for send in await sends.open_sends(lock.connection, self._coin.coin_id) if send.account_count]
        if waiting:
            more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
            raise Waiting(alarm(self._coin, waiting[0]) + more, cause=WaitCause.UNKNOWN_SEND, is_alarm=True)

    async def _read(self, txid_hex: str) -> UnknownSend | None:
        seen = await self._wallet.transaction(txid_hex)
        if seen is None:
            return None
        return UnknownSend(
            txid_hex=txid_hex, raw=seen.raw, fee_atomic=seen.fee_atomic, create_time_ms=self._clock.now_ms()
        )

    async def _judge(self, lock: HeldLock) -> list[str]:
        """Look anew which accounts the open sends pay: the ledger may have come to know more of them."""
        conn, coin_id = lock.connection, self._coin.coin_id
        waiting = await sends.open_sends(conn, coin_id)
        if not waiting:
            return []
        owners = self._scripts.by_script(await sends.ledger_owners(conn, coin_id))
        alarmed = []
        for send in waiting:
            paid = paid_by(send.raw, owners)
            if paid and await self._is_dead(send.txid_hex):
                paid = {}
            judged = replace(send, account_count=len(paid), amount_atomic=sum(paid.values()))
            if judged == send:
                continue
            async with lock.transaction():
                await sends.note_accounts(conn, coin_id, judged)
            if judged.account_count and not send.account_count:
                alarmed.append(send.txid_hex)
        return alarmed

    async def _is_dead(self, txid_hex: str) -> bool:
        """Return whether the chain has long spent its inputs otherwise; asked again each time, for a chain changes."""
        seen = await self._wallet.transaction(txid_hex)
        return seen is not None and -seen.confirmations >= self._confirmations
