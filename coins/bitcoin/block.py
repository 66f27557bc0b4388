"""Whole blocks: put together for `submitblock`, and taken apart to be checked.

A block is its header, the transactions and, once MWEB is active on Litecoin, a byte 01 and the extension block.
"""

from dataclasses import dataclass

from coins.bitcoin.coinbase import COMMITMENT_PREFIX, with_witness
from coins.bitcoin.hashing import HEADER_BYTES, pow_hash, sha256d
from coins.bitcoin.merkle import merkle_root, witness_commitment
from coins.bitcoin.template import Template
from coins.bitcoin.transaction import Transaction, parse_transaction, read_transaction
from coins.bitcoin.wire import Reader, compact_size, height_push
from coins.coin import Algorithm
from coins.errors import BlockError, TargetError
from coins.work import target_from_nbits

__all__ = [
    "Block",
    "BlockHeader",
    "Transaction",
    "assemble_block",
    "check_block",
    "parse_block",
    "parse_header",
    "parse_transaction",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockHeader:
    """The 80 bytes that are mined.

    Attributes:
        data: The bytes themselves.
        version: Unsigned 32 bits.
        prev_hash: The block before, header order.
        merkle_root: Header order.
        time_s: Unix time, seconds.
        nbits: The target in compact form.
        nonce: Unsigned 32 bits.
    """

    data: bytes
    version: int
    prev_hash: bytes
    merkle_root: bytes
    time_s: int
    nbits: int
    nonce: int

    @property
    def block_hash(self) -> bytes:
        """The block's name on the chain: sha256d of the header, header order, whatever the proof of work."""
        return sha256d(self.data)

    @property
    def block_hash_hex(self) -> str:
        """The block's name as people read it."""
        return self.block_hash[::-1].hex()

    def meets_target(self, algorithm: Algorithm) -> bool:
        """Whether the proof of work is at most the target that `nbits` claims."""
        try:
            target = target_from_nbits(self.nbits)
        except TargetError:
            return False
        return int.from_bytes(pow_hash(algorithm, self.data), "little") <= target


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block taken apart.

    Attributes:
        header: The header.
        transactions: Every transaction, coinbase first, a HogEx last.
        mweb: The extension block without its leading 01, or None where there is none.
        size: Bytes as given.
    """

    header: BlockHeader
    transactions: tuple[Transaction, ...]
    mweb: bytes | None
    size: int

    @property
    def coinbase(self) -> Transaction:
        """The first transaction."""
        return self.transactions[0]

    @property
    def txids(self) -> tuple[bytes, ...]:
        """The txids of all transactions, header order."""
        return tuple(transaction.txid for transaction in self.transactions)

    @property
    def merkle_root(self) -> bytes:
        """The root computed from the transactions, to be compared with the header's."""
        return merkle_root(self.txids)

    @property
    def weight(self) -> int:
        """Weight as a node limits it (BIP 141): 4 per byte of header and count, plus the transactions' weights."""
        count_bytes = len(compact_size(len(self.transactions)))
        return 4 * (HEADER_BYTES + count_bytes) + sum(transaction.weight for transaction in self.transactions)

    @property
    def commitment(self) -> bytes | None:
        """The 32 bytes the coinbase commits to the witnesses with, or None; the last such output counts."""
        length = len(COMMITMENT_PREFIX) + 32
        for output in reversed(self.coinbase.outputs):
            if output.script.startswith(COMMITMENT_PREFIX) and len(output.script) >= length:
                return output.script[len(COMMITMENT_PREFIX) : length]
        return None

    @property
    def has_witness(self) -> bool:
        """Whether any transaction carries a witness."""
        return any(transaction.has_witness for transaction in self.transactions)


def assemble_block(template: Template, *, header: bytes, coinbase: bytes) -> bytes:
    """Put together the bytes for `submitblock`.

    Args:
        template: The template the work was made from.
        header: The mined 80 bytes.
        coinbase: The whole coinbase transaction without witness; the witness is added where the template commits to
            witnesses.

    Raises:
        BlockError: If the header does not have 80 bytes.
    """
    if len(header) != HEADER_BYTES:
        raise BlockError("header", f"has {len(header)} bytes, expected {HEADER_BYTES}")
    parts = [
        header,
        compact_size(1 + len(template.transactions)),
        coinbase if template.witness_commitment is None else with_witness(coinbase),
        *(transaction.data for transaction in template.transactions),
    ]
    if template.mweb is not None:
        parts += [b"\x01", template.mweb]
    return b"".join(parts)


def parse_header(data: bytes) -> BlockHeader:
    """Read a block header.

    Raises:
        BlockError: If it does not have 80 bytes.
    """
    if len(data) != HEADER_BYTES:
        raise BlockError("header", f"has {len(data)} bytes, expected {HEADER_BYTES}")
    return BlockHeader(
        data=data,
        version=int.from_bytes(data[:4], "little"),
        prev_hash=data[4:36],
        merkle_root=data[36:68],
        time_s=int.from_bytes(data[68:72], "little"),
        nbits=int.from_bytes(data[72:76], "little"),
        nonce=int.from_bytes(data[76:], "little"),
    )


def parse_block(data: bytes) -> Block:
    """Take a block apart without judging it; `check_block` does that.

    Raises:
        BlockError: If the bytes are not a block: cut off, with bytes left over, without a coinbase, or with a HogEx
            and no extension block.
    """
    reader = Reader(data)
    header = parse_header(reader.take(HEADER_BYTES, "header"))
    count = reader.compact_size("transactions")
    transactions = tuple(read_transaction(reader, field=f"transactions[{index}]") for index in range(count))
    if not transactions or not transactions[0].is_coinbase:
        raise BlockError("transactions[0]", "is not a coinbase")
    for index, transaction in enumerate(transactions[1:], start=1):
        if transaction.is_coinbase:
            raise BlockError(f"transactions[{index}]", "is a second coinbase")
        if transaction.is_hogex and index != count - 1:
            raise BlockError(f"transactions[{index}]", "is a HogEx and not the last transaction")
    return Block(
        header=header,
        transactions=transactions,
        mweb=_read_mweb(reader, has_hogex=transactions[-1].is_hogex),
        size=len(data),
    )


def check_block(block: Block, *, algorithm: Algorithm, height: int, reward_max_atomic: int) -> None:
    """Check what can be checked of a block without the chain before it.

    That is: proof of work, merkle root, the height in the coinbase (BIP 34), the amount the coinbase takes, and the
    commitment to the witnesses (BIP 141).

    Args:
        block: The block.
        algorithm: The coin's proof of work.
        height: The height the block would have.
        reward_max_atomic: Subsidy and fees, the most its coinbase may pay.

    Raises:
        BlockError: At the first rule broken; the reason ends with the word a node's answer has for it.
    """
    if not block.header.meets_target(algorithm):
        raise BlockError("header", "does not meet its target (high-hash)")
    if block.merkle_root != block.header.merkle_root:
        raise BlockError("header", "has another merkle root than the transactions (bad-txnmrklroot)")
    if len(set(block.txids)) != len(block.txids):
        raise BlockError("transactions", "hold one transaction twice (bad-txns-duplicate)")
    script = block.coinbase.inputs[0].script
    if not 2 <= len(script) <= 100:
        raise BlockError("coinbase", f"has a script of {len(script)} bytes, expected 2..100 (bad-cb-length)")
    if not script.startswith(height_push(height)):
        raise BlockError("coinbase", f"does not begin with height {height} (bad-cb-height)")
    if block.coinbase.amount_atomic > reward_max_atomic:
        raise BlockError(
            "coinbase", f"pays {block.coinbase.amount_atomic}, more than {reward_max_atomic} (bad-cb-amount)"
        )
    _check_witness(block)


def _check_witness(block: Block) -> None:
    commitment = block.commitment
    if commitment is None:
        if block.has_witness:
            raise BlockError("coinbase", "commits to no witness, but there are some (unexpected-witness)")
        return
    witness = block.coinbase.inputs[0].witness
    if len(witness) != 1 or len(witness[0]) != 32:
        raise BlockError("coinbase", "has no witness of one item of 32 bytes (bad-witness-nonce-size)")
    wtxids = [transaction.wtxid for transaction in block.transactions[1:]]
    if witness_commitment(wtxids, reserved_value=witness[0]) != commitment:
        raise BlockError("coinbase", "commits to other witnesses (bad-witness-merkle-match)")


def _read_mweb(reader: Reader, *, has_hogex: bool) -> bytes | None:
    if not has_hogex:
        if reader.remaining:
            raise BlockError("block", f"is followed by {reader.remaining} bytes")
        return None
    if reader.take(1, "mweb") != b"\x01" or not reader.remaining:
        raise BlockError("mweb", "is missing after a HogEx")
    return reader.take(reader.remaining, "mweb")
