"""Hold a wallet on a simulated chain.

Its transactions are real in serialisation and spend real outputs, but their witnesses are placeholders of a real
one's size: the simulated node checks outpoints, amounts and double spends, not scripts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from coins.bitcoin.address import decode, encode
from coins.bitcoin.transaction import Transaction
from coins.coin import AddressKind
from coins.errors import AddressError
from nodes.errors import (
    RPC_INVALID_ADDRESS_OR_KEY,
    RPC_INVALID_PARAMETER,
    RPC_WALLET_ERROR,
)
from nodes.simulated_chain import DUST_ATOMIC, Outpoint, SimulatedChain, Unspent
from nodes.simulated_tx import Draft, DraftOutput

_KIND_BY_NAME: Final = {"legacy": AddressKind.P2PKH, "p2sh-segwit": AddressKind.P2SH, "bech32": AddressKind.P2WPKH}
_HASH_BYTES: Final = 20


class WalletRefused(Exception):  # what happened to the request
    """Raised when the wallet cannot do what was asked; `code` and `message` are a real node's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    """A draft with inputs and change. `change_index` is −1 without change."""

    draft: Draft
    fee_atomic: int
    change_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A transaction of the wallet that was seen; `fee_atomic` is 0 when it did not send it."""

    transaction: Transaction
    raw: bytes
    fee_atomic: int
    is_send: bool


class SimulatedWallet:
    """Addresses, coins and transactions of one wallet.

    Args:
        chain: The chain it lives on.
        name: Its name.
        seed: Its addresses follow from it.
    """

    def __init__(self, chain: SimulatedChain, *, name: str, seed: str) -> None:
        self.name = name
        self.locked: set[Outpoint] = set()
        self._chain = chain
        self._random = Random(f"{seed}/{name}")  # noqa: S311  # addresses of play money, the same from the same seed
        self._scripts: set[bytes] = set()
        self._seen: dict[bytes, Sighting] = {}

    def new_address(self, kind: str = "bech32") -> str:
        """Return a fresh address; `kind` is legacy, p2sh-segwit or bech32."""
        if kind not in _KIND_BY_NAME:
            raise WalletRefused(RPC_INVALID_ADDRESS_OR_KEY, f"Unknown address type '{kind}'")
        text = encode(self._chain.coin, _KIND_BY_NAME[kind], self._random.randbytes(_HASH_BYTES))
        self._scripts.add(decode(self._chain.coin, text).script)
        return text

    def is_mine(self, script: bytes) -> bool:
        """Return whether a script belongs to this wallet."""
        return script in self._scripts

    def script_of(self, address: str) -> bytes:
        """Return the script of an address of anyone."""
        try:
            return decode(self._chain.coin, address).script
        except AddressError as error:
            raise WalletRefused(RPC_INVALID_ADDRESS_OR_KEY, f"Invalid address: {address}") from error

    # --- coins ---

    def spendable(self) -> list[tuple[Outpoint, Unspent]]:
        """Return what can be spent now, oldest first: mature, not locked, not spent, and own change in the mempool."""
        taken = self._chain.mempool_spends()
        found = [
            (outpoint, entry)
            for outpoint, entry in (*self._chain.unspent.items(), *self._change_waiting())
            if self.is_mine(entry.script)
            and outpoint not in taken
            and outpoint not in self.locked
            and self._chain.is_mature(entry, at_height=self._chain.tip.height + 1)
        ]
        unconfirmed = self._chain.tip.height + 1
        return sorted(found, key=lambda pair: (unconfirmed if pair[1].height is None else pair[1].height, pair[0]))

    def balance_atomic(self, *, is_mature: bool, with_locked: bool = True) -> int:
        """Return the sum of the mature coins, or that of the immature ones."""
        if is_mature:
            locked = self._locked_unspent() if with_locked else 0
            return sum(entry.amount_atomic for _, entry in self.spendable()) + locked
        height = self._chain.tip.height + 1
        return sum(
            entry.amount_atomic
            for entry in self._chain.unspent.values()
            if self.is_mine(entry.script) and not self._chain.is_mature(entry, at_height=height)
        )

    def received_atomic(self, script: bytes, *, confirmations_min: int) -> int:
        """Return all that was ever paid to a script, coinbases not counted before they mature."""
        total = 0
        for sighting in self._seen.values():
            confirmations = self.confirmations(sighting.transaction)
            needed = self._chain.coin.maturity_blocks if sighting.transaction.is_coinbase else confirmations_min
            if confirmations < needed or (confirmations == 0 and sighting.transaction.txid not in self._chain.mempool):
                continue
            total += sum(output.amount_atomic for output in sighting.transaction.outputs if output.script == script)
        return total

    def _change_waiting(self) -> list[tuple[Outpoint, Unspent]]:
        """Return the outputs of our own transactions in the mempool."""
        found = []
        for txid, waiting in self._chain.mempool.items():
            sighting = self._seen.get(txid)
            if sighting is None or not sighting.fee_atomic:
                continue
            for index in range(len(waiting.transaction.outputs)):
                entry = self._chain.find_unspent((txid, index))
                if entry is not None:
                    found.append(((txid, index), entry))
        return found

    def _locked_unspent(self) -> int:
        taken = self._chain.mempool_spends()
        entries = (self._chain.find_unspent(outpoint) for outpoint in self.locked if outpoint not in taken)
        return sum(entry.amount_atomic for entry in entries if entry is not None)

    # --- building ---

    def fund(self, draft: Draft, *, fee_rate_sat_per_kvb: int, is_locking: bool) -> Funded:
        """Add inputs, oldest first, and change.

        Raises:
            WalletRefused: With Insufficient funds.
        """
        wanted = sum(output.amount_atomic for output in draft.outputs)
        if not draft.outputs or any(output.amount_atomic < DUST_ATOMIC for output in draft.outputs):
            raise WalletRefused(RPC_WALLET_ERROR, "Transaction amount too small")
        change_script = self.script_of(self.new_address())
        inputs = list(draft.inputs)
        have = sum(self._amount_of(outpoint) for outpoint in inputs)
        candidates = [pair for pair in self.spendable() if pair[0] not in draft.inputs]
        while True:
            funded = self._with_change(draft, tuple(inputs), have - wanted, change_script, fee_rate_sat_per_kvb)
            if inputs and funded is not None:
                break
            if not candidates:
                raise WalletRefused(RPC_WALLET_ERROR, "Insufficient funds")
            outpoint, entry = candidates.pop(0)
            inputs.append(outpoint)
            have += entry.amount_atomic
        if is_locking:
            self.locked |= set(inputs)
        return funded

    def sign(self, draft: Draft) -> tuple[bytes, bool]:
        """Return the transaction with placeholder witnesses, and whether all inputs are ours and exist."""
        entries = [self._chain.find_unspent(outpoint) for outpoint in draft.inputs]
        is_complete = bool(entries) and all(entry is not None and self.is_mine(entry.script) for entry in entries)
        return draft.serialise(is_signed=is_complete), is_complete

    def draft(self, outputs: Sequence[tuple[str, int]], *, inputs: tuple[Outpoint, ...] = ()) -> Draft:
        """Return an unfunded draft that pays addresses."""
        scripts = [self.script_of(address) for address, _ in outputs]
        if len(set(scripts)) != len(scripts):
            raise WalletRefused(RPC_INVALID_PARAMETER, "Invalid parameter, duplicated address")
        return Draft(
            inputs=inputs,
            outputs=tuple(
                DraftOutput(script=script, amount_atomic=amount)
                for script, (_, amount) in zip(scripts, outputs, strict=True)
            ),
        )

    def _with_change(
        self, draft: Draft, inputs: tuple[Outpoint, ...], surplus: int, change_script: bytes, fee_rate: int
    ) -> Funded | None:
        """Return the draft with these inputs; None when they do not pay for it. Surplus below dust is fee."""
        bare = Draft(inputs=inputs, outputs=draft.outputs, lock_time=draft.lock_time)
        fee = _fee(bare.weight, fee_rate)
        change = DraftOutput(script=change_script, amount_atomic=0)
        full = Draft(inputs=inputs, outputs=(*draft.outputs, change), lock_time=draft.lock_time)
        left = surplus - _fee(full.weight, fee_rate)
        if left >= DUST_ATOMIC:
            change = DraftOutput(script=change_script, amount_atomic=left)
            full = Draft(inputs=inputs, outputs=(*draft.outputs, change), lock_time=draft.lock_time)
            return Funded(draft=full, fee_atomic=surplus - left, change_index=len(draft.outputs))
        return Funded(draft=bare, fee_atomic=surplus, change_index=-1) if surplus >= fee else None

    def _amount_of(self, outpoint: Outpoint) -> int:
        entry = self._chain.find_unspent(outpoint)
        return 0 if entry is None else entry.amount_atomic

    # --- transactions ---

    def look_at(self, transaction: Transaction, raw: bytes) -> None:
        """Remember a transaction of a block or the mempool when it pays us or spends from us."""
        if transaction.txid in self._seen:
            return
        sent = [
            output for entry in transaction.inputs if (output := self._own_output(entry.txid, entry.index)) is not None
        ]
        if sent or any(self.is_mine(output.script) for output in transaction.outputs):
            fee_atomic = sum(sent) - transaction.amount_atomic if sent else 0
            self._seen[transaction.txid] = Sighting(
                transaction=transaction, raw=raw, fee_atomic=max(0, fee_atomic), is_send=bool(sent)
            )

    def find(self, txid: bytes) -> Sighting | None:
        """Return a transaction of the wallet."""
        return self._seen.get(txid)

    def sends(self, *, above_height: int) -> list[bytes]:
        """Return the ids of transactions that spend from us and are not in a block up to a height, newest first."""
        found = []
        for txid, sighting in self._seen.items():
            stored = self._chain.mined_in.get(txid)
            if sighting.is_send and (stored is None or stored.height > above_height):
                found.append(txid)
        return found[::-1]

    def confirmations(self, transaction: Transaction) -> int:
        """Return 0 outside of blocks, and minus those of the transaction that took an input of ours in a block."""
        stored = self._chain.mined_in.get(transaction.txid)
        if stored is not None:
            return self._chain.confirmations(stored)
        heights = [
            height
            for entry in transaction.inputs
            if (found := self._chain.spent_by.get((entry.txid, entry.index))) is not None
            for _, height in [found]
        ]
        return -(len(self._chain.active) - min(heights)) if heights else 0

    def _own_output(self, txid: bytes, index: int) -> int | None:
        """Return the amount of an output that was ours."""
        sighting = self._seen.get(txid)
        if sighting is None:
            return None
        output = sighting.transaction.outputs[index]
        return output.amount_atomic if self.is_mine(output.script) else None


def _fee(weight: int, fee_rate_sat_per_kvb: int) -> int:
    """Return the fee of a weight, rounded up: 561 weight units are 141 vbytes, 1,410 sat at 10,000 sat/kvB."""
    virtual_size = -(-weight // 4)
    return -(-virtual_size * fee_rate_sat_per_kvb // 1000)
