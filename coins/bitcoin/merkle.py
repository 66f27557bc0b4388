"""Merkle trees of transactions; every hash is 32 bytes in header order.

A level with an odd number of hashes repeats its last one. Source: Bitcoin Core, consensus/merkle.cpp.
"""

from collections.abc import Sequence

from coins.bitcoin.hashing import sha256d

HASH_BYTES = 32
WITNESS_RESERVED_VALUE = bytes(HASH_BYTES)
"""What the pool's coinbase puts in its witness (BIP 141)."""


def merkle_branch(txids: Sequence[bytes]) -> tuple[bytes, ...]:
    """Answer the hashes that lead from the coinbase to the root, lowest level first.

    Args:
        txids: The transactions of a block after the coinbase, in block order.

    Returns:
        One hash a level: ceil(log2(len(txids) + 1)) of them; none for a block with only a coinbase.
    """
    branch: list[bytes] = []
    level: list[bytes] = [b"", *txids]
    while len(level) > 1:
        branch.append(level[1])
        if len(level) % 2:
            level.append(level[-1])
        level = [b"", *(sha256d(level[i] + level[i + 1]) for i in range(2, len(level), 2))]
    return tuple(branch)


def merkle_root_from_branch(coinbase_txid: bytes, branch: Sequence[bytes]) -> bytes:
    """Answer the merkle root of a block from its coinbase and the coinbase's branch."""
    root = coinbase_txid
    for sibling in branch:
        root = sha256d(root + sibling)
    return root


def merkle_root(txids: Sequence[bytes]) -> bytes:
    """Answer the merkle root of a block's transactions, coinbase first.

    Raises:
        ValueError: If there is no transaction.
    """
    if not txids:
        raise ValueError("a block has at least one transaction")
    return merkle_root_from_branch(txids[0], merkle_branch(txids[1:]))


def witness_commitment(wtxids: Sequence[bytes], *, reserved_value: bytes = WITNESS_RESERVED_VALUE) -> bytes:
    """Answer the 32 bytes a coinbase commits to its block's witnesses with: sha256d(witness root ‖ reserved value).

    The coinbase counts as 32 zero bytes in the witness tree. Source: BIP 141.

    Args:
        wtxids: The transactions after the coinbase, in block order.
        reserved_value: The only item of the coinbase's witness, 32 bytes.
    """
    return sha256d(merkle_root([bytes(HASH_BYTES), *wtxids]) + reserved_value)
