"""Transactions, read from bytes. Source: BIP 144; Litecoin's LIP 3 for the MWEB flag."""

from dataclasses import dataclass

from coins.bitcoin.hashing import sha256d
from coins.bitcoin.wire import Reader
from coins.errors import BlockError

NULL_TXID = bytes(32)
NULL_INDEX = 0xFFFFFFFF

_FLAG_WITNESS = 0x01
_FLAG_MWEB = 0x08
_MONEY_BYTES = 8
_LOCKTIME_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionInput:
    """One input.

    Attributes:
        txid: The transaction spent from, header order.
        index: Which of its outputs.
        script: The scriptSig.
        sequence: The sequence number.
        witness: The witness items; empty where there are none.
    """

    txid: bytes
    index: int
    script: bytes
    sequence: int
    witness: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionOutput:
    """One output: a scriptPubKey and what it holds, atomic units."""

    script: bytes
    amount_atomic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A whole transaction.

    Attributes:
        version: Signed 32 bits.
        inputs: At least one.
        outputs: May be empty only beside MWEB data.
        locktime: Height or time before which it cannot be mined.
        has_witness: Whether any input has a witness.
        is_hogex: Whether it is the last transaction of a block with an extension block (Litecoin).
        txid: Hash without witness and MWEB data, header order.
        wtxid: Hash with witness and without MWEB data, header order.
        size: Bytes as given.
        weight: Three times the size without witness and MWEB data, plus the size without MWEB data (BIP 141).
    """

    version: int
    inputs: tuple[TransactionInput, ...]
    outputs: tuple[TransactionOutput, ...]
    locktime: int
    has_witness: bool
    is_hogex: bool
    txid: bytes
    wtxid: bytes
    size: int
    weight: int

    @property
    def is_coinbase(self) -> bool:
        """Whether it creates coins: one input that spends nothing."""
        return len(self.inputs) == 1 and self.inputs[0].txid == NULL_TXID and self.inputs[0].index == NULL_INDEX

    @property
    def amount_atomic(self) -> int:
        """The sum of the outputs."""
        return sum(output.amount_atomic for output in self.outputs)


def parse_transaction(data: bytes) -> Transaction:
    """Read one transaction that fills the bytes exactly.

    Raises:
        BlockError: If the bytes are cut off, go on after the transaction, or are not as a node writes them.
    """
    reader = Reader(data)
    transaction = read_transaction(reader, field="transaction", is_last=True)
    if reader.remaining:
        raise BlockError("transaction", f"is followed by {reader.remaining} bytes")
    return transaction


def read_transaction(reader: Reader, *, field: str, is_last: bool = False) -> Transaction:
    """Read the next transaction.

    Args:
        reader: Where to read.
        field: What to call it in errors.
        is_last: Whether the bytes end with it. Only then can MWEB data be passed over, whose length is not written.

    Raises:
        BlockError: If it is malformed.
    """
    start = reader.position
    version = reader.integer(4, f"{field}.version", signed=True)
    flags = 0
    if reader.peek(1) == b"\x00":
        reader.take(1, field)
        flags = reader.integer(1, f"{field}.flags")
        if not flags or flags & ~(_FLAG_WITNESS | _FLAG_MWEB):
            raise BlockError(f"{field}.flags", f"are {flags:#04x}, expected 0x01 (witness) or 0x08 (MWEB)")
    core_start = reader.position
    bare = _read_inputs(reader, f"{field}.inputs", may_be_empty=bool(flags & _FLAG_MWEB))
    outputs = _read_outputs(reader, f"{field}.outputs")
    core = reader.since(core_start)
    witness_start = reader.position
    inputs = _read_witnesses(reader, bare, f"{field}.witness") if flags & _FLAG_WITNESS else bare
    witness = reader.since(witness_start)
    is_hogex = bool(flags & _FLAG_MWEB) and _skip_mweb(reader, f"{field}.mweb", is_last=is_last)
    locktime = reader.take(_LOCKTIME_BYTES, f"{field}.locktime")

    head = version.to_bytes(4, "little", signed=True)
    base = head + core + locktime
    txid = sha256d(base)
    total_size = len(base) + (2 + len(witness) if witness else 0)
    return Transaction(
        version=version,
        inputs=inputs,
        outputs=outputs,
        locktime=int.from_bytes(locktime, "little"),
        has_witness=bool(witness),
        is_hogex=is_hogex,
        txid=txid,
        wtxid=sha256d(head + b"\x00\x01" + core + witness + locktime) if witness else txid,
        size=reader.position - start,
        weight=3 * len(base) + total_size,
    )


def _read_inputs(reader: Reader, field: str, *, may_be_empty: bool) -> tuple[TransactionInput, ...]:
    count = reader.compact_size(field)
    if not count and not may_be_empty:
        raise BlockError(field, "are missing")
    return tuple(
        TransactionInput(
            txid=reader.take(32, field),
            index=reader.integer(4, field),
            script=reader.var_bytes(field),
            sequence=reader.integer(4, field),
        )
        for _ in range(count)
    )


def _read_outputs(reader: Reader, field: str) -> tuple[TransactionOutput, ...]:
    count = reader.compact_size(field)
    outputs = []
    for _ in range(count):
        amount_atomic = reader.integer(_MONEY_BYTES, field, signed=True)
        if amount_atomic < 0:
            raise BlockError(field, f"have a negative amount, {amount_atomic}")
        outputs.append(TransactionOutput(amount_atomic=amount_atomic, script=reader.var_bytes(field)))
    return tuple(outputs)


def _read_witnesses(reader: Reader, bare: tuple[TransactionInput, ...], field: str) -> tuple[TransactionInput, ...]:
    inputs = tuple(
        TransactionInput(
            txid=entry.txid,
            index=entry.index,
            script=entry.script,
            sequence=entry.sequence,
            witness=tuple(reader.var_bytes(field) for _ in range(reader.compact_size(field))),
        )
        for entry in bare
    )
    if not any(entry.witness for entry in inputs):
        raise BlockError(field, "is flagged but empty")
    return inputs


def _skip_mweb(reader: Reader, field: str, *, is_last: bool) -> bool:
    """Pass over the MWEB part; True when it is the empty one that marks a HogEx."""
    if reader.integer(1, field) == 0:
        return True
    if not is_last:
        raise BlockError(field, "is inside a block, where only the last transaction may have it, and empty")
    reader.take(reader.remaining - _LOCKTIME_BYTES, field)
    return False
