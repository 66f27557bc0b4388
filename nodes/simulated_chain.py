"""Keep a chain in memory by the rules that matter to a pool: blocks, outputs that can be spent, the mempool.

Blocks that come from outside are checked as a node checks them: proof of work, merkle root, witness commitment, BIP 34
height, coinbase amount, previous hash, target, time, inputs and amounts. Scripts and signatures are not run.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from coins.bitcoin.block import Block, check_block, parse_block, parse_header
from coins.bitcoin.subsidy import subsidy_atomic
from coins.bitcoin.transaction import Transaction, parse_transaction
from coins.bitcoin.wire import compact_size
from coins.coin import Coin
from coins.errors import BlockError
from coins.work import target_from_nbits
from nodes.errors import RPC_DESERIALIZATION_ERROR, RPC_VERIFY_ALREADY_IN_CHAIN, RPC_VERIFY_ERROR, RPC_VERIFY_REJECTED

GENESIS_TIME_S: Final = 1_600_000_000
REGTEST_NBITS: Final = 0x207FFFFF
"""The easiest target: every second hash is a block."""
FUTURE_S_MAX: Final = 7200
BLOCK_WEIGHT_MAX: Final = 4_000_000
TEMPLATE_WEIGHT_MAX: Final = 3_996_000
RELAY_FEE_SAT_PER_KVB: Final = 1000
DUST_ATOMIC: Final = 294
MEDIAN_BLOCKS: Final = 11

Outpoint = tuple[bytes, int]


class TransactionRefused(Exception):  # what happened to it
    """Raised when a transaction may not enter the mempool; `code` and `reason` are a real node's."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Unspent:
    """An output nobody has spent; `height` is that of its block, None in the mempool."""

    script: bytes
    amount_atomic: int
    height: int | None
    is_coinbase: bool


@dataclass(slots=True, kw_only=True)
class StoredBlock:
    """A block of any branch. `undo` is what it spent, while it is in the active chain."""

    block: Block
    raw: bytes
    block_hash: bytes
    height: int
    is_trusted: bool
    is_invalid: bool = False
    undo: dict[Outpoint, Unspent] = field(default_factory=dict)

    @property
    def raw_transactions(self) -> tuple[bytes, ...]:
        """Return the bytes of each transaction, coinbase first."""
        at = len(self.block.header.data) + len(compact_size(len(self.block.transactions)))
        pieces = []
        for transaction in self.block.transactions:
            pieces.append(self.raw[at : at + transaction.size])
            at += transaction.size
        return tuple(pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A transaction in the mempool."""

    transaction: Transaction
    raw: bytes
    fee_atomic: int


class SimulatedChain:
    """The chain, its branches and the mempool.

    Args:
        coin: Whose rules; every chain of a coin has the same genesis.
        nbits: The target of every block.
    """

    def __init__(self, coin: Coin, *, nbits: int) -> None:
        self.coin = coin
        self.nbits = nbits
        self.target = target_from_nbits(nbits)
        genesis = _genesis(nbits)
        self.blocks: dict[bytes, StoredBlock] = {genesis.block_hash: genesis}
        self.active: list[StoredBlock] = [genesis]
        self.unspent: dict[Outpoint, Unspent] = {}
        self.spent_by: dict[Outpoint, tuple[bytes, int]] = {}
        self.mined_in: dict[bytes, StoredBlock] = {}
        self.mempool: dict[bytes, Waiting] = {}
        self.mempool_count = 0

    @property
    def tip(self) -> StoredBlock:
        """Return the last block of the active chain."""
        return self.active[-1]

    def median_time_s(self, parent: StoredBlock) -> int:
        """Return the median time of a block and the ten below it; a block on top must be later."""
        times: list[int] = []
        below: StoredBlock | None = parent
        while below is not None and len(times) < MEDIAN_BLOCKS:
            times.append(below.block.header.time_s)
            below = self.blocks.get(below.block.header.prev_hash)
        return sorted(times)[len(times) // 2]

    def at_depth(self, depth: int) -> StoredBlock:
        """Return the active block with so many confirmations; the first one where there are fewer."""
        return self.active[max(0, len(self.active) - depth)]

    def confirmations(self, stored: StoredBlock) -> int:
        """Return 1 for the tip and one more for each block below it; −1 outside of the active chain."""
        is_active = stored.height < len(self.active) and self.active[stored.height] is stored
        return len(self.active) - stored.height if is_active else -1

    # --- blocks ---

    def accept_block(self, raw: bytes, *, now_s: float, is_trusted: bool = False) -> str:
        """Take a block as `submitblock` does.

        Args:
            raw: The serialised block.
            now_s: The node's time, Unix seconds.
            is_trusted: Whether to take it without proof of work, as blocks of the simulated network are.

        Returns:
            Empty when it is the new tip, else the reason in the words of a real node.

        Raises:
            BlockError: When the bytes are not a block.
        """
        block = parse_block(raw)
        block_hash = block.header.block_hash
        known = self.blocks.get(block_hash)
        if known is not None:
            return "duplicate-invalid" if known.is_invalid else "duplicate"
        parent = self.blocks.get(block.header.prev_hash)
        if parent is None:
            return "prev-blk-not-found"
        if parent.is_invalid:
            return "bad-prevblk"
        if reason := self._header_problem(block, parent, now_s=now_s, is_trusted=is_trusted):
            return reason
        stored = StoredBlock(
            block=block, raw=raw, block_hash=block_hash, height=parent.height + 1, is_trusted=is_trusted
        )
        self.blocks[block_hash] = stored
        if stored.height <= self.tip.height:
            return "inconclusive"
        return self._activate(stored)

    def invalidate(self, block_hash: bytes) -> None:
        """Treat a block and all on top of it as invalid, and go on from the best of the rest."""
        self.blocks[block_hash].is_invalid = True
        for stored in sorted(self.blocks.values(), key=lambda entry: entry.height):
            parent = self.blocks.get(stored.block.header.prev_hash)
            if parent is not None and parent.is_invalid:
                stored.is_invalid = True
        self._activate_best()

    def reconsider(self, block_hash: bytes) -> None:
        """Undo `invalidate` for a block, those below and those on top of it."""
        below: StoredBlock | None = self.blocks[block_hash]
        cleared = {block_hash}
        while below is not None:
            below.is_invalid = False
            below = self.blocks.get(below.block.header.prev_hash)
        for stored in sorted(self.blocks.values(), key=lambda entry: entry.height):
            if stored.block.header.prev_hash in cleared:
                stored.is_invalid = False
                cleared.add(stored.block_hash)
        self._activate_best()

    def missing_from(self, other: "SimulatedChain") -> tuple[StoredBlock, ...]:
        """Return our active blocks that another chain does not have, lowest first."""
        return tuple(stored for stored in self.active if stored.block_hash not in other.blocks)

    def _header_problem(self, block: Block, parent: StoredBlock, *, now_s: float, is_trusted: bool) -> str:
        header = block.header
        if header.nbits != self.nbits:
            return "bad-diffbits"
        if not is_trusted and not header.meets_target(self.coin.algorithm):
            return "high-hash"
        if header.time_s > now_s + FUTURE_S_MAX:
            return "time-too-new"
        if header.time_s <= self.median_time_s(parent):
            return "time-too-old"
        if block.merkle_root != header.merkle_root:
            return "bad-txnmrklroot"
        return "bad-blk-weight" if block.weight > BLOCK_WEIGHT_MAX else ""

    def _activate_best(self) -> None:
        """Move to the highest valid block; among equals the active one, then the one seen first."""
        valid = [stored for stored in self.blocks.values() if not stored.is_invalid]
        best = max(valid, key=lambda stored: (stored.height, self.confirmations(stored) > 0))
        self._activate(best)

    def _activate(self, target: StoredBlock) -> str:
        """Make a block the tip; when one on the way breaks a rule, mark it and go back. Empty when done."""
        path = self._path_to(target)
        old = self.active[path[0].height :] if path else self.active[target.height + 1 :]
        back: list[StoredBlock] = list(old)
        dropped = self._disconnect(len(old))
        reason = ""
        for stored in path:
            reason = self._connect(stored)
            if reason:
                stored.is_invalid = True
                self._disconnect(len(self.active) - (path[0].height))
                for again in back:
                    self._connect(again)
                break
        self._requeue(dropped)
        return reason

    def _path_to(self, target: StoredBlock) -> list[StoredBlock]:
        path = []
        while self.confirmations(target) < 0:
            path.append(target)
            target = self.blocks[target.block.header.prev_hash]
        path.reverse()
        return path

    def _connect(self, stored: StoredBlock) -> str:
        """Apply a block on the tip; empty when it keeps the rules, else why not, with nothing changed."""
        created: dict[Outpoint, Unspent] = {}
        spent: dict[Outpoint, Unspent] = {}
        fees_atomic = 0
        for transaction in stored.block.transactions:
            if not transaction.is_coinbase:
                if reason := self._spend(transaction, stored.height, created=created, spent=spent):
                    return reason
                fees_atomic += _fee(transaction, spent)
            for index, output in enumerate(transaction.outputs):
                created[transaction.txid, index] = Unspent(
                    script=output.script,
                    amount_atomic=output.amount_atomic,
                    height=stored.height,
                    is_coinbase=transaction.is_coinbase,
                )
        if not stored.is_trusted and (reason := self._block_problem(stored, fees_atomic=fees_atomic)):
            return reason
        self._apply(stored, created=created, spent=spent)
        return ""

    def _spend(
        self,
        transaction: Transaction,
        height: int,
        *,
        created: dict[Outpoint, Unspent],
        spent: dict[Outpoint, Unspent],
    ) -> str:
        for entry in transaction.inputs:
            outpoint = (entry.txid, entry.index)
            source = created.get(outpoint) or self.unspent.get(outpoint)
            if source is None or outpoint in spent:
                return "bad-txns-inputs-missingorspent"
            if not self.is_mature(source, at_height=height):
                return "bad-txns-premature-spend-of-coinbase"
            spent[outpoint] = source
        return "bad-txns-in-belowout" if _fee(transaction, spent) < 0 else ""

    def _block_problem(self, stored: StoredBlock, *, fees_atomic: int) -> str:
        reward_max = subsidy_atomic(self.coin, stored.height) + fees_atomic
        try:
            check_block(stored.block, algorithm=self.coin.algorithm, height=stored.height, reward_max_atomic=reward_max)
        except BlockError as error:
            word = re.search(r"\(([a-z0-9-]+)\)$", str(error))
            return word.group(1) if word else str(error)
        return ""

    def _apply(self, stored: StoredBlock, *, created: dict[Outpoint, Unspent], spent: dict[Outpoint, Unspent]) -> None:
        self.unspent |= {outpoint: entry for outpoint, entry in created.items() if not _is_data(entry.script)}
        for outpoint in spent:
            self.unspent.pop(outpoint, None)
        stored.undo = {outpoint: entry for outpoint, entry in spent.items() if outpoint not in created}
        for transaction in stored.block.transactions:
            self.mined_in[transaction.txid] = stored
            for entry in transaction.inputs:
                self.spent_by[entry.txid, entry.index] = (transaction.txid, stored.height)
        self.active.append(stored)
        self._drop_from_mempool(stored)

    def _disconnect(self, count: int) -> list[bytes]:
        """Take blocks off the tip; return the bytes of their transactions, oldest first, without the coinbases."""
        dropped: list[bytes] = []
        for _ in range(count):
            stored = self.active.pop()
            for transaction in stored.block.transactions:
                self.mined_in.pop(transaction.txid, None)
                for index in range(len(transaction.outputs)):
                    self.unspent.pop((transaction.txid, index), None)
                for entry in transaction.inputs:
                    self.spent_by.pop((entry.txid, entry.index), None)
            self.unspent |= stored.undo
            dropped[:0] = stored.raw_transactions[1:]
        return dropped

    # --- mempool ---

    def is_mature(self, source: Unspent, *, at_height: int) -> bool:
        """Return whether an output may be spent in a block of this height."""
        return not source.is_coinbase or at_height - (source.height or 0) >= self.coin.maturity_blocks

    def find_unspent(self, outpoint: Outpoint) -> Unspent | None:
        """Return an output of the chain or of the mempool, whether or not something in the mempool spends it."""
        found = self.unspent.get(outpoint)
        if found is not None:
            return found
        waiting = self.mempool.get(outpoint[0])
        if waiting is None or outpoint[1] >= len(waiting.transaction.outputs):
            return None
        output = waiting.transaction.outputs[outpoint[1]]
        return Unspent(script=output.script, amount_atomic=output.amount_atomic, height=None, is_coinbase=False)

    def mempool_spends(self) -> dict[Outpoint, bytes]:
        """Return which output is spent by which transaction of the mempool."""
        return {
            (entry.txid, entry.index): txid
            for txid, waiting in self.mempool.items()
            for entry in waiting.transaction.inputs
        }

    def accept_transaction(self, raw: bytes) -> Transaction:
        """Take a transaction into the mempool; one that is there already changes nothing.

        Raises:
            TransactionRefused: With a real node's code and words.
        """
        try:
            transaction = parse_transaction(raw)
        except BlockError as error:
            raise TransactionRefused(RPC_DESERIALIZATION_ERROR, "TX decode failed") from error
        txid = transaction.txid
        if txid in self.mempool:
            return transaction
        if any((txid, index) in self.unspent for index in range(len(transaction.outputs))):
            raise TransactionRefused(RPC_VERIFY_ALREADY_IN_CHAIN, "transaction already in block chain")
        taken = self.mempool_spends()
        sources: dict[Outpoint, Unspent] = {}
        for entry in transaction.inputs:
            outpoint = (entry.txid, entry.index)
            source = self.find_unspent(outpoint)
            if source is None or outpoint in sources:
                raise TransactionRefused(RPC_VERIFY_ERROR, "bad-txns-inputs-missingorspent")
            if outpoint in taken:
                raise TransactionRefused(RPC_VERIFY_REJECTED, "txn-mempool-conflict")
            if not self.is_mature(source, at_height=self.tip.height + 1):
                raise TransactionRefused(RPC_VERIFY_REJECTED, "bad-txns-premature-spend-of-coinbase")
            sources[outpoint] = source
        fee_atomic = _fee(transaction, sources)
        if reason := _relay_problem(transaction, fee_atomic):
            raise TransactionRefused(RPC_VERIFY_REJECTED, reason)
        self.mempool[txid] = Waiting(transaction=transaction, raw=raw, fee_atomic=fee_atomic)
        self.mempool_count += 1
        return transaction

    def template_transactions(self) -> tuple[Waiting, ...]:
        """Return what the next block should hold, parents before children."""
        chosen, weight = [], 4000
        for waiting in self.mempool.values():
            if weight + waiting.transaction.weight > TEMPLATE_WEIGHT_MAX:
                break
            chosen.append(waiting)
            weight += waiting.transaction.weight
        return tuple(chosen)

    def _drop_from_mempool(self, stored: StoredBlock) -> None:
        """Remove what a block holds, and what it conflicts with together with all that builds on it."""
        for transaction in stored.block.transactions:
            self.mempool.pop(transaction.txid, None)
        if not self.mempool:
            return
        spent = {(entry.txid, entry.index) for tx in stored.block.transactions for entry in tx.inputs}
        gone: set[bytes] = set()
        for txid, waiting in tuple(self.mempool.items()):
            inputs = waiting.transaction.inputs
            if any((entry.txid, entry.index) in spent or entry.txid in gone for entry in inputs):
                gone.add(txid)
                del self.mempool[txid]

    def _requeue(self, dropped: Sequence[bytes]) -> None:
        """Build the mempool again after blocks were taken off: their transactions first, then what waited before."""
        if not dropped:
            return
        waiting = [entry.raw for entry in self.mempool.values()]
        self.mempool.clear()
        for raw in (*dropped, *waiting):
            try:
                self.accept_transaction(raw)
            except TransactionRefused:
                continue


def _fee(transaction: Transaction, sources: dict[Outpoint, Unspent]) -> int:
    paid = sum(sources[entry.txid, entry.index].amount_atomic for entry in transaction.inputs)
    return paid - transaction.amount_atomic


def _relay_problem(transaction: Transaction, fee_atomic: int) -> str:
    if fee_atomic < 0:
        return "bad-txns-in-belowout"
    if any(output.amount_atomic < DUST_ATOMIC and not _is_data(output.script) for output in transaction.outputs):
        return "dust"
    virtual_size = -(-transaction.weight // 4)
    return "min relay fee not met" if fee_atomic * 1000 < virtual_size * RELAY_FEE_SAT_PER_KVB else ""


def _is_data(script: bytes) -> bool:
    return script.startswith(b"\x6a")


def _genesis(nbits: int) -> StoredBlock:
    """Return the block all chains of these parameters begin with; its coinbase pays nobody."""
    coinbase = bytes.fromhex("0100000001" + "00" * 32 + "ffffffff020000ffffffff01") + bytes(8)
    coinbase += b"\x01\x6a" + bytes(4)
    transaction = parse_transaction(coinbase)
    header = parse_header(
        (1).to_bytes(4, "little")
        + bytes(32)
        + transaction.txid
        + GENESIS_TIME_S.to_bytes(4, "little")
        + nbits.to_bytes(4, "little")
        + bytes(4)
    )
    raw = header.data + b"\x01" + coinbase
    block = parse_block(raw)
    return StoredBlock(block=block, raw=raw, block_hash=header.block_hash, height=0, is_trusted=True)
